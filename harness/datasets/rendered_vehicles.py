"""Vehicles from a renderer of our own, with what each picture was taken from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from harness.datasets._files import Stamp, stamps
from harness.datasets._parts import Pool
from harness.datasets._render import render
from harness.datasets._rendered import Rendered, require_at_least, require_range
from harness.datasets._vehicles import VEHICLES, mesh
from harness.datasets.cifar10 import CIFAR10
from harness.draws import CounterDraws
from harness.types import Part, Split

_CLASSES = tuple(VEHICLES)
_PLAIN = 0.95  # of white
_CROP = 0.75  # of a background's side
_BACKGROUNDS = ("plain", "images")
_TOGETHER = 256


@dataclass(frozen=True)
class RenderedVehicles:
    """Color pictures of seven vehicles by azimuth and look-down angle, 64x64: nothing is downloaded.

    x (N, 3, size, size) on the grid of multiples of 1/255. azimuths: (from, to) in degrees, 0 in front of the vehicle and
    90 to its left; look_down: (from, to) in degrees, 0 level with it and 90 above. `images` of them in all, vehicles in
    turn, uniform in both ranges; with `step`, every vehicle at each `step` degrees of both, ends included, a full
    circle's once. background: plain, or images, a crop of a CIFAR-10 image each. Whatever is chosen, labels are those
    of all seven. 45 % become train, 15 % fit, 20 % calibrate and 20 % test; `seed` fixes views, backgrounds and parts.
    Raises ValueError for ranges, names and numbers that make none, FileNotFoundError where CIFAR-10 is nowhere to be had.
    A stand-in for the pictures of Mahler et al. 2024, section 3; diffuse light only, which stands still about the vehicle.
    """

    vehicles: tuple[str, ...] = ("sedan", "hatchback", "suv", "pickup", "van", "bus", "box_truck")
    azimuths: tuple[float, float] = (0.0, 360.0)
    look_down: tuple[float, float] = (0.0, 45.0)
    images: int = 4200
    step: float | None = None
    background: str = "plain"
    size: int = 64
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """Seven."""
        return len(_CLASSES)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return _CLASSES

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The columns of `parameters`, in degrees."""
        return "azimuth", "look_down"

    @property
    def note(self) -> str:
        """Where they come from."""
        return "rendered vehicles (ours)"

    def files(self) -> tuple[Path, ...]:
        """Those of the backgrounds, if they are images."""
        return CIFAR10().files() if self.background == "images" else ()

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return _rendered(self, stamps(self.files())).split(part, self.seed)

    def parameters(self, part: Part, /) -> Tensor:
        """Azimuth and look-down angle of each input of `split(part)`, in degrees: (N, 2) float32."""
        return _rendered(self, stamps(self.files())).parameters(part, self.seed)

    def render(self, labels: Tensor, parameters: Tensor, /) -> Tensor:
        """The pictures of labels (N,) at azimuth and look-down angle (N, 2): (N, 3, size, size), on a plain background."""
        covered = _covered(labels, parameters, self.size)
        return covered[:, :3] + (1 - covered[:, 3:]) * _PLAIN


def _covered(labels: Tensor, parameters: Tensor, size: int) -> Tensor:
    """Colors times coverage, and coverage: (N, 4, size, size)."""
    x = torch.empty(len(labels), 4, size, size)
    for label in sorted(set(labels.tolist())):
        rows = labels == label
        x[rows] = render(mesh(_CLASSES[label]), *parameters[rows].T, size=size)
    return x


@lru_cache(maxsize=2)
def _rendered(chosen: RenderedVehicles, stamped: tuple[Stamp, ...]) -> Rendered:
    _require(chosen)
    which = torch.tensor([_CLASSES.index(name) for name in chosen.vehicles])
    values = _views(chosen, len(which))
    y = which[torch.arange(len(values)) % len(which)]
    index = torch.arange(len(y))
    around = CIFAR10().split("calibrate").x if chosen.background == "images" else None
    x = torch.empty(len(y), 3, chosen.size, chosen.size, dtype=torch.uint8)
    for rows in torch.split(index, _TOGETHER):
        covered = _covered(y[rows], values[rows], chosen.size)
        behind = (
            _PLAIN if around is None else _crops(around, CounterDraws(f"backgrounds/{chosen.seed}", rows), chosen.size)
        )
        x[rows] = (covered[:, :3] + (1 - covered[:, 3:]) * behind).mul(255).round().clamp(0, 255).byte()
    return Rendered(Pool(x, y, index, _CLASSES), values)


def _require(chosen: RenderedVehicles) -> None:
    unknown = [name for name in chosen.vehicles if name not in VEHICLES]
    if unknown or not chosen.vehicles or len(set(chosen.vehicles)) < len(chosen.vehicles):
        raise ValueError(f"vehicles are some of {', '.join(VEHICLES)}, each once, not {chosen.vehicles}")
    if chosen.background not in _BACKGROUNDS:
        raise ValueError(f"background is one of {', '.join(_BACKGROUNDS)}, not '{chosen.background}'")
    require_range("azimuths", chosen.azimuths, -360, 720)
    require_range("look_down", chosen.look_down, 0, 90)
    if chosen.azimuths[1] - chosen.azimuths[0] > 360:
        raise ValueError(f"azimuths span at most 360 degrees, not {chosen.azimuths}")
    if chosen.step is not None and not chosen.step > 0:
        raise ValueError(f"step is a positive number of degrees, or None for random views, not {chosen.step}")
    require_at_least(images=(chosen.images, 10), size=(chosen.size, 8))


def _views(chosen: RenderedVehicles, vehicles: int) -> Tensor:
    """Azimuth and look-down angle (N, 2), a multiple of `vehicles` where they form a grid."""
    if chosen.step is not None:
        azimuths, look_down = _steps(chosen.azimuths, chosen.step), _steps(chosen.look_down, chosen.step)
        if azimuths[-1] - azimuths[0] > 360 - 1e-6:
            azimuths = azimuths[:-1]
        return torch.cartesian_prod(azimuths, look_down).repeat_interleave(vehicles, 0).float()
    low, high = torch.tensor([chosen.azimuths, chosen.look_down]).unbind(1)
    draws = CounterDraws(f"rendered_vehicles/{chosen.seed}", torch.arange(chosen.images))
    return low + (high - low) * draws.uniform(2)


def _steps(ends: tuple[float, float], step: float) -> Tensor:
    return ends[0] + step * torch.arange(int((ends[1] - ends[0]) / step + 1e-6) + 1, dtype=torch.float64)


def _crops(images: Tensor, draws: CounterDraws, size: int) -> Tensor:
    """A square piece of a random image for each input, one in two mirrored: (B, 3, size, size)."""
    turn = torch.zeros(len(draws.index), 2, 3)
    turn[:, 0, 0] = _CROP * (2.0 * draws.integers(2, draw=1) - 1)
    turn[:, 1, 1] = _CROP
    turn[:, :, 2] = (1 - _CROP) * (2 * draws.uniform(2) - 1)
    grid = functional.affine_grid(turn, [len(turn), 3, size, size], align_corners=False)
    chosen = images[draws.integers(len(images), draw=2)]
    crops: Tensor = functional.grid_sample(chosen, grid, padding_mode="border", align_corners=False)
    return crops
