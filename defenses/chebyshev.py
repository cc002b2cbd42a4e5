"""Detection by the size of the polyhedron round an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from defenses._craft import batches
from defenses._units import Units, some
from geometry.polyhedra.chebyshev_center import chebyshev_center
from geometry.polyhedra.halfspaces import halfspaces
from geometry.polyhedra.inscribed_ball import inscribed_ball_screened
from harness.types import Network, Score, Split, State

PROBE = 1e-2  # length of the finite differences that estimate how fast units change
NEAREST = 8  # units in the surrogate's soft minimum


@dataclass(frozen=True)
class Chebyshev:
    """Scores an input by the radius of the largest ball in its ReLU polyhedron.

    ball: `inscribed`, centred at the input, the nearest of all units' planes (the `candidates` that look nearest along
    `directions` random directions are measured exactly); `box`, the Chebyshev radius of the polyhedron in the box [0, 1],
    a linear program an input, for small networks and few inputs. suspicious: which radii are: `small`, as in the paper,
    `large`, or `either`, by the distance of the logarithm to its median. The surrogate is a soft minimum over the
    nearest planes, at estimated distances. Raises ValueError for victims that are not piecewise linear (the module named).
    Source: Liu et al. 2023, equation (7), tables 6 and 7, which do not say whether there was a box.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    ball: Literal["inscribed", "box"] = "inscribed"
    suspicious: Literal["small", "large", "either"] = "small"
    directions: int = 8
    candidates: int = 16
    references: int = 500

    def __post_init__(self) -> None:
        if self.directions < 1 or self.candidates < 1 or self.references < 1:
            raise ValueError(
                f"chebyshev takes at least one direction, candidate and reference, not directions = {self.directions}, "
                f"candidates = {self.candidates}, references = {self.references}"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """Random directions (n, *S), and the median of the logarithm of the radius over fit inputs."""
        directions = torch.randn(self.directions, *data.x.shape[1:]).to(data.x)
        radii = self._radii(Units.of(victim, "chebyshev").network, directions)
        found = torch.cat(
            [radii(batch.x) for batch in batches(some(data, self.references if self.ball == "inscribed" else 20))]
        )
        return {"directions": directions, "median": found.clamp_min(1e-12).log().median()}

    def load(self, state: State, *, victim: Network) -> Score:
        """The logarithm of the radius, its negative, or its distance to the median: (B, *S) -> (B,)."""
        radii = self._radii(Units.of(victim, "chebyshev").network, state["directions"])
        return _Radius(radii, state["median"], self.suspicious)

    def _radii(self, network: nn.Module, directions: Tensor) -> _Inscribed | _InBox:
        if self.ball == "box":
            return _InBox(network, directions)
        return _Inscribed(network, directions, self.candidates)


@dataclass(frozen=True, eq=False)
class _Inscribed:
    """The radius of the largest ball centred at an input."""

    network: nn.Module
    directions: Tensor
    candidates: int

    def __call__(self, x: Tensor) -> Tensor:
        return inscribed_ball_screened(self.network, x, self.directions, candidates=self.candidates)


@dataclass(frozen=True, eq=False)
class _InBox:
    """The radius of the largest ball in the polyhedron and the box [0, 1], one linear program after the other."""

    network: nn.Module
    directions: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        box = (0.0, 1.0)
        found = [chebyshev_center(halfspaces(self.network, one), box=box).radius for one in x.detach().clamp(0, 1)]
        return torch.tensor(found).to(x)


@dataclass(frozen=True, eq=False)
class _Radius:
    """A radius as a score."""

    radii: _Inscribed | _InBox
    median: Tensor
    suspicious: str

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._score(self.radii(x))

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same of a soft minimum over the planes of all units."""
        z = Units(self.radii.network).inputs(x)
        distances = z.abs() / self._slopes(x.detach(), z.detach())
        nearest = distances.topk(min(NEAREST, distances.shape[1]), largest=False).values
        width = (nearest[:, -1:] - nearest[:, :1]).detach().clamp_min(1e-9)
        weight = torch.softmax((nearest[:, :1] - nearest).detach() / width, 1)
        soft = (weight * nearest).sum(1)
        return self._score(soft + (nearest[:, 0] - soft).detach())

    @torch.no_grad()
    def _slopes(self, x: Tensor, z: Tensor) -> Tensor:
        """The estimated length of each unit's gradient, (B, h), by differences along the random directions."""
        units, squares = Units(self.radii.network), torch.zeros_like(z)
        for direction in self.radii.directions.to(x):
            squares += ((units.inputs(x + PROBE * direction) - z) / PROBE).square()
        return (squares / len(self.radii.directions)).sqrt().clamp_min(1e-9)

    def _score(self, radius: Tensor) -> Tensor:
        logarithm = radius.clamp_min(1e-12).log()
        if self.suspicious == "either":
            return (logarithm - self.median.to(logarithm)).abs()
        return logarithm if self.suspicious == "large" else -logarithm
