"""Detection by how many polyhedra lie between an input and the nearest clean image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._towards import nearest_image
from defenses._units import Units, soft, some
from geometry.polyhedra.crossings import crossings
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class BoundaryCrossings:
    """Scores an input by the boundaries of ReLU polyhedra that the segment to the nearest clean image crosses.

    points: places on the segment at which bits are compared; every difference between neighbouring places is at least
    one boundary, so that the count is a lower bound, for any network. 0: all boundaries exactly, for plain ReLU networks.
    references: clean images to choose from. The surrogate sums the differences of soft bits between the places. Raises
    ValueError for victims that are not piecewise linear (the module named). Source: Liu et al. 2023, algorithm 2, table 5.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    points: int = 8
    references: int = 4000

    def __post_init__(self) -> None:
        if self.points < 0 or self.points == 1 or self.references < 1:
            raise ValueError(
                f"boundary_crossings takes points = 0 or at least 2 and at least one reference, not points = {self.points}, "
                f"references = {self.references}"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """The images (R, *S), and the spread (h,) of each unit's input."""
        chosen = some(data, self.references)
        _, spread = Units.of(victim, "boundary_crossings").surveyed(chosen)
        return {"images": chosen.x.clone(), "spread": spread}

    def load(self, state: State, *, victim: Network) -> Score:
        """The number of boundaries, (B, *S) -> (B,)."""
        units = Units.of(victim, "boundary_crossings")
        return _Crossed(units, state["images"], state["spread"], self.points)


@dataclass(frozen=True, eq=False)
class _Crossed:
    """Boundaries between an input and its nearest image."""

    units: Units
    images: Tensor
    spread: Tensor
    points: int

    def __call__(self, x: Tensor, /) -> Tensor:
        goal = nearest_image(x, self.images)
        if self.points == 0:
            return crossings(self.units.network, x.detach(), goal).number.to(x)
        bits = [self.units.bits(place) for place in self._places(x, goal)]
        return sum_of([(after != before).sum(1, dtype=x.dtype) for before, after in pairwise(bits)])

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same with soft bits, at eight places where all boundaries are counted."""
        bits = [soft(self.units.inputs(place), self.spread) for place in self._places(x, nearest_image(x, self.images))]
        return sum_of([(after - before).abs().sum(1) for before, after in pairwise(bits)])

    def _places(self, x: Tensor, goal: Tensor) -> list[Tensor]:
        number = self.points or 8
        return [x + i / (number - 1) * (goal - x) for i in range(number)]


def sum_of(parts: list[Tensor]) -> Tensor:
    """The sum (B,) of some (B,)."""
    return torch.stack(parts).sum(0)
