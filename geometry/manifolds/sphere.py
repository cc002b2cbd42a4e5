"""The sphere in a space of any dimension."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from geometry.manifolds._closed_form import ClosedForm, center_of, complement, unit
from geometry.manifolds._rows import Data, State, require_positive


@dataclass(frozen=True)
class Sphere:
    """The sphere of a radius about a center in R^n, of dimension n - 1, where n is the number of the center's coordinates.

    Everything is projected along the radius, the centre in the direction of the first axis.
    """

    radius: float = 1.0
    center: tuple[float, ...] = (0.0, 0.0, 0.0)

    def fit(self, data: Data | None = None) -> State:
        """Nothing is learnt from data: an empty state."""
        return {}

    def load(self, state: State) -> ClosedForm:
        """The sphere; raises ValueError for a radius or a center that is none."""
        require_positive(radius=self.radius)
        center = center_of(self.center)
        ambient = len(center)

        def outward(x: Tensor) -> Tensor:
            return unit(x - center.to(x))

        def nearest(x: Tensor) -> Tensor:
            return center.to(x) + self.radius * outward(x)

        def draw(number: int, generator: Generator) -> Tensor:
            normal = torch.randn(number, ambient, generator=generator, device=generator.device, dtype=torch.float64)
            return center.to(normal) + self.radius * unit(normal)

        return ClosedForm(ambient - 1, ambient, nearest, lambda x: complement(outward(x)), draw)
