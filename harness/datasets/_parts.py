"""From all inputs of a data set to its four disjoint parts, fixed by a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import torch
from torch import Tensor

from harness.draws import CounterDraws
from harness.types import Part, Split

PARTS: tuple[Part, ...] = get_args(Part)
_AT_MOST = 5000
_SMALLEST = 10


@dataclass(frozen=True, eq=False)
class Pool:
    """All inputs of a data set: x (N, *S), uint8 as multiples of 1 / levels or float32 in [0, 1]; y (N,) int64.

    index (N,) int64 identifies each input; the last `official_test` inputs are the published test set (0: there is
    none). note says what is special about the data, "" if nothing is.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    class_names: tuple[str, ...]
    levels: int | None = 255
    official_test: int = 0
    note: str = ""

    def split(self, part: Part, seed: int, classes: tuple[int, ...] = ()) -> Split:
        """One of the four parts; raises ValueError for another name.

        classes: what it keeps of the part, labels renumbered in this order; empty for all.
        """
        if part not in PARTS:
            raise ValueError(f"there is no part '{part}'; the parts are {', '.join(PARTS)}")
        rows = partition(len(self.y), self.official_test, seed)[part]
        y = self.y[rows]
        if classes:
            place = torch.full((len(self.class_names),), -1)
            place[list(classes)] = torch.arange(len(classes))
            rows, y = rows[place[y] >= 0], place[y][place[y] >= 0]
        x = self.x[rows]
        if not x.is_floating_point():
            x = x.float().div_(self.levels or 255)
        return Split(x, y, self.index[rows], len(classes) or len(self.class_names), self.levels)


def chosen(dataset: str, names: tuple[str, ...], classes: tuple[int, ...]) -> tuple[str, ...]:
    """The names of some classes, all if none are given; raises ValueError for unknown and repeated ones."""
    known = set(range(len(names)))
    if classes and (len(set(classes)) < len(classes) or not set(classes) <= known):
        raise ValueError(
            f"{dataset} has the classes 0 to {len(names) - 1}, of which `classes` takes some, each once, not {list(classes)}"
        )
    return tuple(names[place] for place in classes) or names


@lru_cache(maxsize=32)
def partition(size: int, official_test: int, seed: int) -> dict[Part, Tensor]:
    """Rows of each part, shuffled by the seed alone.

    test: the published test set, else a fifth of the inputs (at most 10,000). Of the rest, 3/16 are fit and 1/4 are
    calibrate (each at most 5,000), and the others train: without a published test set 45, 15, 20 and 20 %.
    """
    if size - official_test < _SMALLEST:
        raise ValueError(f"{size - official_test} inputs were given, but four disjoint parts need at least {_SMALLEST}")
    rest = _shuffled(size - official_test, f"partition/{seed}")
    if official_test:
        test = size - official_test + _shuffled(official_test, f"partition/{seed}/test")
    else:
        count = min(2 * _AT_MOST, size // 5)
        test, rest = rest[:count], rest[count:]
    fit, calibrate = min(_AT_MOST, len(rest) * 3 // 16), min(_AT_MOST, len(rest) // 4)
    return {
        "fit": rest[:fit],
        "calibrate": rest[fit : fit + calibrate],
        "train": rest[fit + calibrate :],
        "test": test,
    }


def _shuffled(size: int, key: str) -> Tensor:
    """A permutation of 0 .. size - 1 that depends on size and key only, not on the library's version."""
    return CounterDraws(key, torch.arange(size)).uniform().argsort(stable=True)
