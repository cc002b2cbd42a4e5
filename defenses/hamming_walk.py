"""Detection by how many units flip on a short walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._towards import moved, nearest_image
from defenses._units import Units, soft, some
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class HammingWalk:
    """Scores an input by how many ReLU units flip between it and points at a fixed l2 distance.

    towards: the nearest of `references` clean images, or `directions` random ones, drawn once. step: the length of the
    walk, in units of the input. The surrogate puts a sigmoid for each bit. In random directions the paper's effect does
    not appear on networks trained here; it does towards the nearest image. Raises ValueError for victims that are not
    piecewise linear (the module named). Source: Liu et al. 2023, table 4, which does not name its directions.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    step: float = 0.5
    towards: Literal["training", "random"] = "training"
    references: int = 4000
    directions: int = 8

    def __post_init__(self) -> None:
        if not self.step > 0 or self.references < 1 or self.directions < 1:
            raise ValueError(
                f"hamming_walk takes a step above 0 and at least one reference and direction, not step = {self.step}, "
                f"references = {self.references}, directions = {self.directions}"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """The images (R, *S) or directions (n, *S) of length one, and the spread (h,) of each unit's input."""
        chosen = some(data, self.references)
        _, spread = Units.of(victim, "hamming_walk").surveyed(chosen)
        if self.towards == "training":
            return {"goals": chosen.x.clone(), "spread": spread}
        random = torch.randn(self.directions, *data.x.shape[1:]).to(data.x)
        length = torch.linalg.vector_norm(random.flatten(1), dim=1).reshape(-1, *(1,) * (random.ndim - 1))
        return {"goals": random / length, "spread": spread}

    def load(self, state: State, *, victim: Network) -> Score:
        """The number of flips, in random directions its mean, (B, *S) -> (B,)."""
        units = Units.of(victim, "hamming_walk")
        return _Flips(units, state["goals"], state["spread"], self.step, self.towards == "random")


@dataclass(frozen=True, eq=False)
class _Flips:
    """Units that differ between an input and the ends of its walks."""

    units: Units
    goals: Tensor
    spread: Tensor
    step: float
    random: bool

    def __call__(self, x: Tensor, /) -> Tensor:
        here = self.units.bits(x)
        flips = [(self.units.bits(end) != here).sum(1, dtype=x.dtype) for end in self._ends(x)]
        return torch.stack(flips).mean(0)

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same with soft bits."""
        here = soft(self.units.inputs(x), self.spread)
        flips = [(soft(self.units.inputs(end), self.spread) - here).abs().sum(1) for end in self._ends(x)]
        return torch.stack(flips).mean(0)

    def _ends(self, x: Tensor) -> list[Tensor]:
        if self.random:
            return [x + self.step * direction for direction in self.goals.to(x)]
        return [moved(x, nearest_image(x, self.goals), self.step)]
