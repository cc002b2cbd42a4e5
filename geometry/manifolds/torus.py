"""The torus of revolution in space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from geometry.manifolds._closed_form import ClosedForm, angles, center_of, turned, uniform, unit
from geometry.manifolds._rows import Data, State, require_positive


@dataclass(frozen=True)
class Torus:
    """The tube of radius `minor` about the horizontal circle of radius `major` in R^3, of dimension 2.

    The projection goes to the nearest point of that circle and then along the tube's radius; on the axis and on the
    circle itself, where many points are nearest, one is taken. The tangents run around the axis and around the tube.
    """

    major: float = 1.0
    minor: float = 0.4
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def fit(self, data: Data | None = None) -> State:
        """Nothing is learnt from data: an empty state."""
        return {}

    def load(self, state: State) -> ClosedForm:
        """The torus; raises ValueError unless 0 < minor < major, and for a center that is none."""
        require_positive(major=self.major, minor=self.minor)
        if self.minor >= self.major:
            raise ValueError(
                f"minor must be smaller than major, {self.major}, not {self.minor}: the tube would meet itself"
            )
        center = center_of(self.center, 3)
        major, minor = self.major, self.minor

        def frame(x: Tensor) -> tuple[Tensor, Tensor]:
            """Directions away from the axis (B, 2), and away from the tube's circle in the half-plane of x (B, 2)."""
            offset = x - center.to(x)
            away = unit(offset[:, :2])
            height = offset[:, 2:]
            return away, unit(torch.cat([(offset[:, :2] * away).sum(1, keepdim=True) - major, height], dim=1))

        def place(away: Tensor, around: Tensor) -> Tensor:
            reach = major + minor * around[:, :1]
            return center.to(away) + torch.cat([reach * away, minor * around[:, 1:]], dim=1)

        def tangents(x: Tensor) -> Tensor:
            away, around = frame(x)
            side, up = turned(away), turned(around)
            along = torch.cat([side, torch.zeros_like(side[:, :1])], dim=1)
            return torch.stack([along, torch.cat([up[:, :1] * away, up[:, 1:]], dim=1)], dim=2)

        def draw(number: int, generator: Generator) -> Tensor:
            return place(*_even_angles(number, minor / major, generator))

        return ClosedForm(2, 3, lambda x: place(*frame(x)), tangents, draw)


def _even_angles(number: int, ratio: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Directions around the axis and around the tube with the density of area, 1 + ratio cos(tube angle).

    A uniform tube angle t is kept with probability (1 + ratio cos t) / 2 and mirrored to pi - t otherwise: nothing is rejected.
    """
    axis, tube = angles(number, 2, generator).T
    kept = uniform(number, 1, generator)[:, 0] < (1 + ratio * tube.cos()) / 2
    across = torch.where(kept, tube.cos(), -tube.cos())
    return torch.stack([axis.cos(), axis.sin()], dim=1), torch.stack([across, tube.sin()], dim=1)
