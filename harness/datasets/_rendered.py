"""Inputs that are made on the fly from known parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from torch import Tensor

from harness.datasets._parts import Pool, partition
from harness.types import Part, Split


@dataclass(frozen=True, eq=False)
class Rendered:
    """All inputs and the parameters (N, P) float32 that each was made from."""

    pool: Pool
    values: Tensor

    def split(self, part: Part, seed: int) -> Split:
        """One of the four parts; raises ValueError for another name."""
        return self.pool.split(part, seed)

    def parameters(self, part: Part, seed: int) -> Tensor:
        """What the inputs of `split` were made from, row for row: (N, P) float32."""
        return self.values[partition(len(self.values), self.pool.official_test, seed)[part]]


def require_range(name: str, given: tuple[float, float], low: float, high: float, *, positive: bool = False) -> None:
    """Raises ValueError unless given is (from, to) with low <= from <= to <= high; positive: 0 < from."""
    proper = len(given) == 2 and all(isfinite(end) for end in given)
    if not (proper and low <= given[0] <= given[1] <= high and (given[0] > 0 or not positive)):
        raise ValueError(
            f"{name} is (from, to) with {'0 < ' if positive else f'{low:g} <= '}from <= to <= {high:g}, not {given}"
        )


def require_at_least(**given: tuple[int, int]) -> None:
    """Raises ValueError unless each first number is at least the second."""
    for name, (value, least) in given.items():
        if value < least:
            raise ValueError(f"{name} is {value}; at least {least} is needed")
