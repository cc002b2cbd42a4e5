"""Points of a circle in the unit square."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import pi
from pathlib import Path

import torch
from torch import Tensor

from harness.datasets._rendered import Rendered
from harness.datasets._toys import CLASSES, REACH, Rules, toy
from harness.types import Part, Split

_RULES: Rules = {"single": lambda v: v[:, 0], "double": lambda v: v[:, 0] * v[:, 1]}


@dataclass(frozen=True)
class ToyCircle:
    """Points of a circle, uniform in the angle, that one or two lines through its center tell apart.

    x (N, 2), any floats: the manifold `circle: {radius: 0.4, center: [0.5, 0.5]}`; budgets of the unit circle are 0.4
    times as large here. boundary: single, the sign of x1, or double, that of x1 x2, about the center. 45 % become train,
    15 % fit, 20 % calibrate and 20 % test; `seed` fixes points and parts. Raises ValueError for another boundary and
    fewer than 10 points. Zhang et al. 2024, section 4.1.
    """

    boundary: str = "single"
    points: int = 2000
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """Two."""
        return len(CLASSES)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return CLASSES

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The column of `parameters`: degrees anticlockwise from the right."""
        return ("angle",)

    @property
    def note(self) -> str:
        """Nothing is special about it."""
        return ""

    def files(self) -> tuple[Path, ...]:
        """None."""
        return ()

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return _toy(self).split(part, self.seed)

    def parameters(self, part: Part, /) -> Tensor:
        """The angle of each input of `split(part)`: (N, 1) float32."""
        return _toy(self).parameters(part, self.seed)


def _place(uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    turn = 2 * pi * uniform.double()
    unit = torch.cat([turn.cos(), turn.sin()], dim=1)
    return (0.5 + REACH * unit).float(), unit, 360 * uniform


@lru_cache(maxsize=4)
def _toy(chosen: ToyCircle) -> Rendered:
    return toy(
        "toy_circle", chosen.points, chosen.seed, columns=1, place=_place, rules=_RULES, boundary=chosen.boundary
    )
