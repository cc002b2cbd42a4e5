"""Two systems on the inputs that both were tried on: what each holds, the paired difference, what broke what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.rank import paired, wilson
from harness.types import Interval
from leaderboard import _text
from leaderboard._values import mapping, plain, sequence
from leaderboard.rows import Setting

Record = Mapping[str, Any]
Array = np.ndarray[Any, Any]

HALF = 0.5  # of its draws, in which a random system must be right to hold an input
CLEAN = "wrong or rejected when clean"
_SHOWN = 6  # attacks that are named in a line
_EXACT = "Points are of percent. Interval: Newcombe's for paired shares, 95 %; p: McNemar's exact test, two-sided."
_PROBABILITIES = (
    "Points are of percent. A system answers at random: it holds what it gets right in half of its draws or more; interval and "
    "p are those of a paired t test of the probabilities."
)


@dataclass(frozen=True)
class Table:
    """What two systems hold of the same inputs, and how far they are apart.

    both, only_a, only_b, neither: inputs; a system that answers at random (exact is False) holds those that it gets right in
    half of its draws or more. difference: share of A minus share of B, or of their mean probabilities, with its 95 % interval;
    p: two-sided.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: Interval
    p: float
    exact: bool


@dataclass(frozen=True)
class Comparison:
    """Two systems of one setting over the inputs that both were tried on.

    lost_by_b: what broke B on the inputs that only A holds; lost_by_a: the reverse; lost_by_both: what broke A and what
    broke B on the others; each with the number of inputs, the most frequent first.
    """

    a: Record
    b: Record
    inputs: int
    robust: Table
    clean: Table | None
    only_a: Sequence[int]
    only_b: Sequence[int]
    lost_by_b: Mapping[str, int]
    lost_by_a: Mapping[str, int]
    lost_by_both: Mapping[tuple[str, str], int]


def compare(a: Record, b: Record) -> Comparison:
    """Two records; raises ValueError where they cannot be compared, with the reason."""
    reason = difference_of_settings(a, b)
    if reason:
        raise ValueError(f"{name_of(a)} and {name_of(b)} cannot be compared: {reason}")
    index, first, second = _common(a, b)
    if not len(index):
        raise ValueError(f"{name_of(a)} and {name_of(b)} cannot be compared: they were tried on no input in common")
    x, y = _column(a, "robust", first), _column(b, "robust", second)
    broke_a, broke_b = _breakers(a, first), _breakers(b, second)
    a_holds, b_holds = x >= HALF, y >= HALF
    only_a, only_b, lost = a_holds & ~b_holds, b_holds & ~a_holds, ~a_holds & ~b_holds
    return Comparison(
        a,
        b,
        len(index),
        table(x, y),
        _clean(a, b, first, second),
        index[only_a].tolist(),
        index[only_b].tolist(),
        dict(Counter(broke_b[only_a].tolist()).most_common()),
        dict(Counter(broke_a[only_b].tolist()).most_common()),
        dict(Counter(zip(broke_a[lost].tolist(), broke_b[lost].tolist(), strict=True)).most_common()),
    )


def table(x: Array, y: Array) -> Table:
    """The table of two systems from what each holds of the same inputs, (n,) each: 0, 1 or a probability."""
    exact = bool(np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all())
    a, b = x >= HALF, y >= HALF
    both, only_a, only_b, neither = (int(each.sum()) for each in (a & b, a & ~b, ~a & b, ~a & ~b))
    ends = newcombe(both, only_a, only_b, neither) if exact else _student(x - y)
    return Table(both, only_a, only_b, neither, ends, paired(x, y)[1], exact)


def newcombe(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """Difference of two paired shares, A's less B's, with its 95 % interval, from the numbers of inputs.

    Wilson's intervals of both shares, put together with their correlation, corrected for continuity. Source: Newcombe 1998,
    "Improved confidence intervals for the difference between binomial proportions based on paired data", Statistics in
    Medicine 17, method 10.
    """
    number = both + only_a + only_b + neither
    if number == 0:
        return Interval(math.nan, math.nan, math.nan)
    a, b = wilson(both + only_a, number), wilson(both + only_b, number)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product = both * neither - only_a * only_b
    corrected = max(product - number / 2, 0) if product > 0 else product
    phi = corrected / math.sqrt(margins) if margins else 0.0

    def length(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    value = (only_a - only_b) / number
    low = value - length(a.value - a.low, b.high - b.value)
    return Interval(value, low, value + length(a.high - a.value, b.value - b.low))


def _student(difference: Array) -> Interval:
    """The mean of differences with its 95 % interval by Student's t; the whole range for a single one."""
    from scipy import special

    mean, number = float(difference.mean()), len(difference)
    if number < 2:
        return Interval(mean, -1.0, 1.0)
    half = float(special.stdtrit(number - 1, 0.975)) * float(difference.std(ddof=1)) / math.sqrt(number)
    return Interval(mean, max(-1.0, mean - half), min(1.0, mean + half))


def _common(a: Record, b: Record) -> tuple[Array, Array, Array]:
    """The inputs of both, and where each record has them."""
    own, other = (
        np.asarray(sequence(mapping(record.get("per_input")).get("index")), dtype=np.int64) for record in (a, b)
    )
    return np.intersect1d(own, other, return_indices=True)


def _column(record: Record, name: str, where: Array) -> Array:
    return np.asarray(mapping(record.get("per_input"))[name], dtype=float)[where]


def _breakers(record: Record, where: Array) -> Array:
    """What broke each input, in words where no attack did."""
    named = sequence(mapping(record.get("per_input")).get("breaker"))
    known = [plain(named[i]) if i < len(named) else "" for i in where.tolist()]
    return np.array([name or CLEAN for name in known], dtype=object)


def _clean(a: Record, b: Record, first: Array, second: Array) -> Table | None:
    """The table of clean inputs; None where a record has no such column."""
    for record in (a, b):
        held = mapping(record.get("per_input"))
        if len(sequence(held.get("clean"))) != len(sequence(held.get("index"))):
            return None
    return table(_column(a, "clean", first), _column(b, "clean", second))


def difference_of_settings(a: Record, b: Record) -> str:
    """In what two records differ that must be equal for a comparison, in words; empty where they can be compared."""
    own, other = Setting.of(a), Setting.of(b)
    if own is None or other is None:
        return "a record has no headline threat"
    words = {name: (getattr(own, name), getattr(other, name)) for name in vars(own)}
    told: dict[str, Callable[[Any], str]] = {"headline": _text.threat}
    found = [
        f"{'threat' if name == 'headline' else name.replace('dataset', 'data set')} "
        f"{told.get(name, str)(left) or 'unknown'} against {told.get(name, str)(right) or 'unknown'}"
        for name, (left, right) in words.items()
        if left != right
    ]
    missing = [name_of(r) for r in (a, b) if not sequence(mapping(r.get("per_input")).get("index"))]
    return ", ".join(found) or (f"{missing[0]} has no result (some of its tasks failed)" if missing else "")


def name_of(record: Record) -> str:
    """A system in a few words: defense and id."""
    return f"{plain(record.get('defense')) or 'unnamed'} ({plain(record.get('id'))[:8]})"


def as_json(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON-able values."""
    names = ("id", "defense")
    setting = {name: found.a.get(name) for name in ("suite", "size", "seed", "dataset", "victim", "headline")}
    return setting | {
        "a": {name: found.a.get(name) for name in names},
        "b": {name: found.b.get(name) for name in names},
        "inputs": found.inputs,
        "robust": asdict(found.robust),
        "clean": asdict(found.clean) if found.clean else None,
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "lost_by_a": dict(found.lost_by_a),
        "lost_by_b": dict(found.lost_by_b),
        "lost_by_both": [{"a": x, "b": y, "inputs": n} for (x, y), n in found.lost_by_both.items()],
    }


def text(found: Comparison) -> str:
    """A comparison in lines of text."""
    setting = Setting.of(found.a)
    assert setting is not None  # compare() has seen to it
    where = f"{setting.dataset} · {setting.victim} · {_text.threat(setting.headline)}"
    named = [f"{name} {value}" for name in ("suite", "size", "seed") if (value := getattr(setting, name))]
    lines = [f"A  {name_of(found.a)}", f"B  {name_of(found.b)}", where]
    lines += [" · ".join([*named, f"{_text.whole(found.inputs)} inputs in common"]), ""]
    lines += _lines(found)
    exact = found.robust.exact and (found.clean is None or found.clean.exact)
    lines += ["", _EXACT if exact else _PROBABILITIES, ""]
    lines.append(f"{_inputs(len(found.only_a))} held by A alone; B was lost to: {_counted(found.lost_by_b)}")
    lines.append(f"{_inputs(len(found.only_b))} held by B alone; A was lost to: {_counted(found.lost_by_a)}")
    both = {f"{x} / {y}" if x != y else f"{x} (both)": n for (x, y), n in found.lost_by_both.items()}
    lines.append(f"{_inputs(sum(both.values()))} held by neither; A / B were lost to: {_counted(both)}")
    return "\n".join(lines)


def _lines(found: Comparison) -> list[str]:
    """The table of both columns."""
    tables = [("right and robust", found.robust), *([("clean", found.clean)] if found.clean else [])]
    heads = f"{'':<10}" + "".join(f"{title:>36}" for title, _ in tables)
    lines = [heads.rstrip()]
    for name, title in (("both", "both"), ("only_a", "only A"), ("only_b", "only B"), ("neither", "neither")):
        cells = [f"{getattr(t, name):,}{_share(getattr(t, name), found.inputs)}" for _, t in tables]
        lines.append(f"{title:<10}" + "".join(f"{cell:>36}" for cell in cells))
    ends = [
        f"{_points(t.difference.value)} ({_points(t.difference.low)} to {_points(t.difference.high)})"
        for _, t in tables
    ]
    lines.append(f"{'A minus B':<10}" + "".join(f"{cell:>36}" for cell in ends))
    return [*lines, f"{'p':<10}" + "".join(f"{t.p:>36.2g}" for _, t in tables)]


def _share(number: float, inputs: int) -> str:
    return f"{100 * number / inputs:>7.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _inputs(number: int) -> str:
    return f"{number:,} input{'' if number == 1 else 's'}"


def _counted(counts: Mapping[str, int]) -> str:
    """What broke how many inputs, the most frequent first."""
    shown = [f"{name} {number:,}" for name, number in list(counts.items())[:_SHOWN]]
    rest = sum(list(counts.values())[_SHOWN:])
    return ", ".join([*shown, *([f"others {rest:,}"] if rest else [])]) or "–"
