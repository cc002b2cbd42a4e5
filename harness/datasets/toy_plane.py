"""Points of a square in the unit cube."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import pi
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from harness.datasets._rendered import Rendered
from harness.datasets._toys import CLASSES, REACH, Rules, toy
from harness.types import Part, Split

_RULES: Rules = {
    "single": lambda v: v[:, 0] - v[:, 1].sin(),
    "double": lambda v: (v[:, 0] - v[:, 1].sin()) * v[:, 1],
}


@dataclass(frozen=True)
class ToyPlane:
    """Points of a square, uniform, that a sine curve, and a line across it, tell apart.

    x (N, 3), any floats: the manifold `plane: {half_width: 0.4, center: 0.5, height: 0.5}`, for [-pi, pi]^2 at x3 = 0;
    budgets there are 0.4 / pi times as large here. boundary: single, the sign of x1 - sin x2, or double, times that of
    x2, in the coordinates there. 45 % become train, 15 % fit, 20 % calibrate and 20 % test; `seed` fixes points and
    parts. Raises ValueError for another boundary and fewer than 10 points. Zhang et al. 2024, section 4.1.
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
        """The columns of `parameters`, from -pi to pi."""
        return "x1", "x2"

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
        """Where each input of `split(part)` lies in the square: (N, 2) float32."""
        return _toy(self).parameters(part, self.seed)


def _place(uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    square = 2 * uniform - 1
    return functional.pad(0.5 + REACH * square, (0, 1), value=0.5), pi * square, pi * square


@lru_cache(maxsize=4)
def _toy(chosen: ToyPlane) -> Rendered:
    return toy("toy_plane", chosen.points, chosen.seed, columns=2, place=_place, rules=_RULES, boundary=chosen.boundary)
