"""Paired tests between all systems of a group at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray[Any, Any]

_BLOCK = 256  # systems that are compared with all others at a time
_ABSOLUTE, _RELATIVE = 1e-8, 1e-5  # rows of probabilities that differ by no more are the same
_CANCELLED = 1e-6  # a sum of squares that is smaller than this part of what it was subtracted from is summed anew


def better(table: Array, *, level: float) -> Array:
    """How many others are better than each system by the paired test, at a level over the family of all pairs (Holm 1979).

    table: (systems, inputs), nan where an input was not observed; gives (systems,) whole numbers. Exact McNemar where
    both systems are 0 or 1 on all inputs that they share, else the paired t test.
    """
    fractional = ~((table == 0) | (table == 1) | np.isnan(table)).all(1)
    order = np.argsort(fractional, kind="stable")  # the systems of zeros and ones first
    table, plain = table[order], int((~fractional).sum())
    more = _only(table)
    signed = _signed_p(table, plain, more)
    keys, counts = _distinct(more[:plain, :plain])
    p = mcnemar_p(keys)
    hypotheses = len(table) * (len(table) - 1) // 2
    small, number = _below(signed, level, sure=level / max(hypotheses, 1))
    limit = cutoff(np.append(p, small), np.append(counts, number), hypotheses=hypotheses, level=level)
    worse = np.zeros(len(table), dtype=np.int64)
    worse[:plain] += _worse(more[:plain, :plain], keys[p <= limit])
    clear = np.abs(signed) <= limit
    worse[plain:] += (clear & np.signbit(signed)).sum(1)
    worse += (clear & ~np.signbit(signed)).sum(0)
    found = np.empty_like(worse)
    found[order] = worse
    return found


def cutoff(p_values: Array, counts: Array, *, hypotheses: int, level: float) -> float:
    """The largest p that is rejected at a level in a family of hypotheses (Holm 1979); -1 where none is.

    counts: how many hypotheses have each p; hypotheses that are left out have a p that is not below the level.
    """
    order = np.argsort(p_values, kind="stable")
    p, counts = p_values[order], counts[order]
    before = np.cumsum(counts) - counts
    held = np.flatnonzero(~(p < level / np.maximum(hypotheses - before, 1)))
    last = int(held[0]) if len(held) else len(p)
    return float(p[last - 1]) if last else -1.0


def _below(signed: Array, level: float, *, sure: float) -> tuple[Array, Array]:
    """The p below a level and how many pairs have each; those below `sure` as one, the largest number below it."""
    found, certain = [np.full(1, np.nextafter(sure, 0))], 0
    for row in signed:
        p = np.abs(row)
        certain += int((p < sure).sum())
        found.append(p[(p >= sure) & (p < level)])
    p = np.concatenate(found)
    return p, np.append(certain, np.ones(len(p) - 1, dtype=np.int64))


def mcnemar_p(pairs: Array) -> Array:
    """Two-sided exact p of McNemar's test; pairs: (n, 2), the discordant inputs and those of them on the rarer side."""
    number, low = pairs[:, 0].astype(float), pairs[:, 1].astype(float)
    tail = np.where(number > 0, special.bdtr(low, np.maximum(number, 1).astype(int), 0.5), 1.0)
    return np.asarray(np.minimum(1.0, 2 * tail))


def student_p(mean: Array | float, spread: Array | float, number: Array | float) -> Array:
    """Two-sided p of the paired t test; spread: sum of squared deviations from the mean; 1 for a single pair."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.divide(mean, np.sqrt(np.maximum(spread, 0) / np.subtract(number, 1) / number))
        p = 2 * special.stdtr(np.subtract(number, 1), -np.abs(t))
    return np.where(np.isnan(p) | np.less(number, 2), 1.0, p)


def _only(table: Array) -> Array:
    """The inputs that the first system holds and the second loses: (systems, systems), exact to 2^24 inputs."""
    return np.asarray((table == 1).astype(np.float32) @ (table == 0).astype(np.float32).T)


def _discordant(more: Array) -> Iterator[tuple[slice, Array, Array, Array]]:
    """Block by block of rows: the rows, what only they hold, what only the others hold, and the rarer of both."""
    for start in range(0, len(more), _BLOCK):
        rows = slice(start, start + _BLOCK)
        own, other = more[rows].astype(np.int64), more[:, rows].T.astype(np.int64)
        yield rows, own, other, np.minimum(own, other)


def _earlier(start: int, shape: tuple[int, ...]) -> Array:
    """Whether the column's system comes before the row's, of a block of rows from `start` on."""
    return np.arange(shape[1]) < np.arange(start, start + shape[0])[:, None]


def _distinct(more: Array) -> tuple[Array, Array]:
    """The different results of the pairs, (n, 2) discordant inputs and the rarer of both, and how often each occurs."""
    found, counts = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    scale = int(more.max(initial=0)) + 1
    for rows, own, other, low in _discordant(more):
        once = _earlier(rows.start, own.shape)
        block, number = np.unique(((own + other) * scale + low)[once], return_counts=True)
        found.append(block)
        counts.append(number)
    keys, place = np.unique(np.concatenate(found), return_inverse=True)
    total = np.bincount(place, np.concatenate(counts), len(keys)).astype(np.int64)
    return np.stack(np.divmod(keys, scale), 1), total


def _worse(more: Array, clear: Array) -> Array:
    """How many others are better than each; clear: the results, as `_distinct` gives them, that tell two systems apart."""
    if not len(clear):
        return np.zeros(len(more), dtype=np.int64)
    most = np.full(int(2 * more.max(initial=0)) + 1, -1)
    np.maximum.at(most, clear[:, 0], clear[:, 1])
    blocks = [((low <= most[own + other]) & (own < other)).sum(1) for _, own, other, low in _discordant(more)]
    return np.concatenate(blocks)


def _signed_p(table: Array, plain: int, more: Array) -> Array:
    """The p of each system with probabilities against those before it, negative where it is the worse; inf elsewhere."""
    signed = np.full((len(table) - plain, len(table)), np.inf)
    if not len(signed):
        return signed
    seen = (~np.isnan(table)).astype(float)
    value = np.nan_to_num(table)
    for start in range(plain, len(table), _BLOCK):
        rows, end = slice(start, start + _BLOCK), min(start + _BLOCK, len(table))
        p = _mixed(value[:end], seen[:end], rows, more)
        signed[start - plain : end - plain, :end] = np.where(_earlier(start, p.shape), p, np.inf)
    return signed


def _mixed(value: Array, seen: Array, rows: slice, more: Array) -> Array:
    """The signed p of a block of systems against all: paired t, or McNemar where what they share is zeros and ones."""
    x, o, square = value[rows], seen[rows], value * value
    number = _over(o, seen)
    total = _over(x, seen) - _over(value, o).T
    whole = _over(square[rows], seen) + _over(square, o).T
    squares = whole - 2 * (x @ value.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / number
    spread = squares - total * mean
    p = student_p(mean, spread, number)
    unsure = (spread < _CANCELLED * whole) & (number > 1)
    for i in np.flatnonzero(unsure.any(1)):
        which = np.flatnonzero(unsure[i])
        total[i, which], p[i, which] = _again(x[i], o[i], value[which], seen[which])
    between = ((value != 0) & (value != 1)).astype(float)
    whole_numbers = _over(between[rows], seen) + _over(between, o).T == 0
    own, other = more[rows, : len(value)], more[: len(value), rows].T
    pairs = np.stack([own + other, np.minimum(own, other)], -1)[whole_numbers]
    p[whole_numbers], total[whole_numbers] = mcnemar_p(pairs), (own - other)[whole_numbers]
    return np.asarray(np.copysign(p, total))


def _over(value: Array, seen: Array) -> Array:
    """The sum of each row over the inputs that each system has seen: (rows, systems)."""
    if seen.all():
        return np.broadcast_to(value.sum(1)[:, None], (len(value), len(seen)))
    return np.asarray(value @ seen.T)


def _again(x: Array, o: Array, value: Array, seen: Array) -> tuple[Array, Array]:
    """Sum of differences and p of a system and some others, by deviations from the mean; p is 1 where they are the same."""
    both = seen * o
    difference, number = (x - value) * both, both.sum(1)
    total = difference.sum(1)
    mean = total / number
    spread = (((difference - mean[:, None]) * both) ** 2).sum(1)
    same = (np.abs(difference) <= _ABSOLUTE + _RELATIVE * np.abs(value)).all(1)
    return total, np.where(same, 1.0, student_p(mean, spread, number))
