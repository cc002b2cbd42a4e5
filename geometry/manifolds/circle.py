"""The circle in the plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from geometry.manifolds._closed_form import ClosedForm, angles, center_of, turned, unit
from geometry.manifolds._rows import Data, State, require_positive


@dataclass(frozen=True)
class Circle:
    """The circle of a radius about a center in R^2, of dimension 1; its tangent is the radius turned left.

    Everything is projected along the radius, the centre to the right. Zhang et al. 2024, section 4.1, has radius 1 and
    center (0, 0); inputs in [0, 1] need smaller ones.
    """

    radius: float = 1.0
    center: tuple[float, float] = (0.0, 0.0)

    def fit(self, data: Data | None = None) -> State:
        """Nothing is learnt from data: an empty state."""
        return {}

    def load(self, state: State) -> ClosedForm:
        """The circle; raises ValueError for a radius or a center that is none."""
        require_positive(radius=self.radius)
        center = center_of(self.center, 2)

        def outward(x: Tensor) -> Tensor:
            return unit(x - center.to(x))

        def nearest(x: Tensor) -> Tensor:
            return center.to(x) + self.radius * outward(x)

        def draw(number: int, generator: Generator) -> Tensor:
            angle = angles(number, 1, generator)
            return center.to(angle) + self.radius * torch.cat([angle.cos(), angle.sin()], dim=1)

        return ClosedForm(1, 2, nearest, lambda x: turned(outward(x))[:, :, None], draw)
