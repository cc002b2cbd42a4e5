"""The flat torus: a product of two circles in four dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from geometry.manifolds._closed_form import ClosedForm, angles, center_of, turned, unit
from geometry.manifolds._rows import Data, State, require_positive


@dataclass(frozen=True)
class FlatTorus:
    """The product of circles of two radii about a center in R^4, of dimension 2 and without curvature.

    The first two coordinates and the last two are projected each on their circle.
    """

    radii: tuple[float, float] = (1.0, 1.0)
    center: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def fit(self, data: Data | None = None) -> State:
        """Nothing is learnt from data: an empty state."""
        return {}

    def load(self, state: State) -> ClosedForm:
        """The flat torus; raises ValueError for radii or a center that are none."""
        first, second = self.radii
        require_positive(first_radius=first, second_radius=second)
        center = center_of(self.center, 4)

        def directions(x: Tensor) -> tuple[Tensor, Tensor]:
            offset = x - center.to(x)
            return unit(offset[:, :2]), unit(offset[:, 2:])

        def place(one: Tensor, other: Tensor) -> Tensor:
            return center.to(one) + torch.cat([first * one, second * other], dim=1)

        def tangents(x: Tensor) -> Tensor:
            one, other = map(turned, directions(x))
            still = torch.zeros_like(one)
            return torch.stack([torch.cat([one, still], dim=1), torch.cat([still, other], dim=1)], dim=2)

        def draw(number: int, generator: Generator) -> Tensor:
            one, other = (torch.stack([a.cos(), a.sin()], dim=1) for a in angles(number, 2, generator).T)
            return place(one, other)

        return ClosedForm(2, 4, lambda x: place(*directions(x)), tangents, draw)
