"""Detection by the distance to the activation patterns of training inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._units import Units, differing, soft, some
from geometry.polyhedra.activation_pattern import pack
from geometry.polyhedra.hamming_distances import nearest_patterns
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class Hamming:
    """Scores an input by the mean Hamming distance of its activation pattern to the nearest ones of clean inputs.

    The `k` nearest among the patterns of `references` fit inputs, in bits; of all ReLU layers, or of one `layer` (from
    0 on). Bits are constant inside a polyhedron, so that the surrogate puts a sigmoid for each bit. The state holds
    references * h / 8 bytes for h units. Raises ValueError for victims that are not piecewise linear (the module named),
    TypeError for victims that are no torch module. Source: Liu et al. 2023, section 3.1 and table 3.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    k: int = 5
    references: int = 4000
    layer: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.references:
            raise ValueError(f"hamming takes 1 <= k <= references, not k = {self.k} of {self.references}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """Packed patterns (R, ceil(h / 8)) of fit inputs, and the spread (h,) of each unit's input."""
        if len(data) < self.k:
            raise ValueError(
                f"hamming has {len(data)} fit inputs, but compares with the {self.k} nearest; give a smaller k"
            )
        patterns, spread = Units.of(victim, "hamming", self.layer).surveyed(some(data, self.references))
        return {"patterns": patterns, "spread": spread}

    def load(self, state: State, *, victim: Network) -> Score:
        """The mean distance in bits, (B, *S) -> (B,)."""
        return _Distance(Units.of(victim, "hamming", self.layer), state["patterns"], state["spread"], self.k)


@dataclass(frozen=True, eq=False)
class _Distance:
    """The mean distance to the k nearest patterns."""

    units: Units
    patterns: Tensor
    spread: Tensor
    k: int

    def __call__(self, x: Tensor, /) -> Tensor:
        distances, _ = nearest_patterns(pack(self.units.bits(x)), self.patterns, k=self.k)
        return distances.to(x).mean(1)

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same with soft bits, to the patterns that are nearest to the hard ones."""
        z = self.units.inputs(x)
        with torch.no_grad():
            _, nearest = nearest_patterns(pack(z > 0), self.patterns, k=self.k)
        return differing(soft(z, self.spread), self.patterns[nearest]).mean(1)
