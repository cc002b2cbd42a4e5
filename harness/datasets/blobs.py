"""Images of one blob, by its angle and its width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from harness.datasets._parts import Pool
from harness.datasets._rendered import Rendered, require_at_least, require_range
from harness.types import Part, Split

_CLASSES = ("right to top", "top to left", "left to bottom", "bottom to right")


@dataclass(frozen=True)
class Blobs:
    """Grey images of one Gaussian blob, 16x16, whose angle and width are known: nothing is downloaded.

    x (N, 1, size, size), any floats, 1 at the blob's middle. The middle lies `distance` pixels from the image's at one of
    `angles` even angles, its standard deviation is one of `widths` from width[0] to width[1] pixels, ends included: 900
    images. Labels are the quarters of the angle. 45 % become train, 15 % fit, 20 % calibrate and 20 % test, by `seed`.
    Raises ValueError for numbers that make none. What the labels of Mahler et al. 2024 are tried on where truth is known.
    """

    angles: int = 60
    widths: int = 15
    width: tuple[float, float] = (1.5, 2.5)
    distance: float = 4.0
    size: int = 16
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """Four."""
        return len(_CLASSES)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return _CLASSES

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The columns of `parameters`: degrees anticlockwise from the right, and pixels."""
        return "angle", "width"

    @property
    def note(self) -> str:
        """Nothing is special about it."""
        return ""

    def files(self) -> tuple[Path, ...]:
        """None."""
        return ()

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return _rendered(self).split(part, self.seed)

    def parameters(self, part: Part, /) -> Tensor:
        """Angle and width of each input of `split(part)`: (N, 2) float32."""
        return _rendered(self).parameters(part, self.seed)

    def render(self, parameters: Tensor, /) -> Tensor:
        """The images of angles and widths (N, 2), in that dtype: (N, 1, size, size)."""
        turn, width = torch.deg2rad(parameters[:, 0, None, None]), parameters[:, 1, None, None]
        place = torch.arange(self.size).to(parameters) - (self.size - 1) / 2
        across = place - self.distance * turn.cos()
        down = place[:, None] + self.distance * turn.sin()
        return torch.exp(-(across**2 + down**2) / (2 * width**2))[:, None]


@lru_cache(maxsize=4)
def _rendered(chosen: Blobs) -> Rendered:
    require_at_least(angles=(chosen.angles, 1), widths=(chosen.widths, 1), size=(chosen.size, 4))
    require_range("width", chosen.width, 0, chosen.size, positive=True)
    if not isfinite(chosen.distance) or not 0 <= chosen.distance <= chosen.size / 2:
        raise ValueError(f"distance is 0 to {chosen.size / 2:g} pixels, half the image, not {chosen.distance}")
    angles = torch.arange(chosen.angles) * (360 / chosen.angles)
    values = torch.cartesian_prod(angles, torch.linspace(*chosen.width, chosen.widths))
    y = (values[:, 0] / 90).long()
    return Rendered(Pool(chosen.render(values), y, torch.arange(len(y)), _CLASSES, levels=None), values)
