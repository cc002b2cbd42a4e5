"""Fashion-MNIST's items turned and scaled, with the angle and the factor known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from harness.datasets._files import Stamp, stamps
from harness.datasets._parts import Pool
from harness.datasets._rendered import Rendered, require_at_least, require_range
from harness.datasets.fashion_mnist import FashionMNIST
from harness.draws import CounterDraws
from harness.types import Part, Split


@dataclass(frozen=True)
class RotatedFashion:
    """Grey images of a few pieces of clothing, 28x28, each turned and scaled many times (from Fashion-MNIST).

    x (N, 1, 28, 28) on the grid of multiples of 1/255. angles: (from, to) in degrees, anticlockwise; scales: (from, to),
    1 for the size of the original; `images` in all, uniform in both. items: how many originals, classes in turn; input
    `index` shows item index % items, and all parts show the same ones: 1 makes a manifold of two parameters. 45 % become
    train, 15 % fit, 20 % calibrate and 20 % test; `seed` fixes items, views and parts. Raises ValueError for numbers that
    make none, FileNotFoundError when Fashion-MNIST is nowhere to be had.
    """

    items: int = 10
    angles: tuple[float, float] = (-45.0, 45.0)
    scales: tuple[float, float] = (0.7, 1.0)
    images: int = 4000
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """Ten."""
        return FashionMNIST().num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return FashionMNIST().class_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The columns of `parameters`: degrees, and a factor."""
        return "angle", "scale"

    @property
    def note(self) -> str:
        """What is special about the copy of Fashion-MNIST, "" if nothing is."""
        return FashionMNIST().note

    def files(self) -> tuple[Path, ...]:
        """Those of Fashion-MNIST."""
        return FashionMNIST().files()

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return _rendered(self, stamps(self.files())).split(part, self.seed)

    def parameters(self, part: Part, /) -> Tensor:
        """Angle and scale of each input of `split(part)`: (N, 2) float32."""
        return _rendered(self, stamps(self.files())).parameters(part, self.seed)

    def render(self, index: Tensor, parameters: Tensor, /) -> Tensor:
        """The items of inputs `index` (N,) at angle and scale (N, 2): (N, 1, 28, 28)."""
        return warped(_originals(self, stamps(self.files())).x[index % self.items], parameters)


def warped(x: Tensor, parameters: Tensor) -> Tensor:
    """Images (N, 1, H, W) about their middle at angle and scale (N, 2), interpolated between pixels, 0 beyond the edge."""
    turn, scale = torch.deg2rad(parameters[:, 0]), parameters[:, 1]
    cosine, sine, zero = turn.cos() / scale, turn.sin() / scale, torch.zeros_like(turn)
    matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).reshape(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    found: Tensor = functional.grid_sample(x, grid, align_corners=False)
    return found


@lru_cache(maxsize=4)
def _rendered(chosen: RotatedFashion, stamped: tuple[Stamp, ...]) -> Rendered:
    require_range("angles", chosen.angles, -360, 360)
    require_range("scales", chosen.scales, 0, 4, positive=True)
    require_at_least(images=(chosen.images, 10))
    originals = _originals(chosen, stamped)
    index = torch.arange(chosen.images)
    low, high = torch.tensor([chosen.angles, chosen.scales]).unbind(1)
    values = low + (high - low) * CounterDraws(f"rotated_fashion/{chosen.seed}", index).uniform(2)
    item = index % chosen.items
    x = warped(originals.x[item], values).mul(255).round().clamp(0, 255).byte()
    return Rendered(Pool(x, originals.y[item], index, chosen.class_names), values)


@lru_cache(maxsize=4)
def _originals(chosen: RotatedFashion, stamped: tuple[Stamp, ...]) -> Split:
    """The items, classes in turn, each the next of its class in the order of the seed."""
    require_at_least(items=(chosen.items, 1))
    source = FashionMNIST(seed=chosen.seed).split("fit")
    kinds = chosen.num_classes
    wanted = torch.arange(chosen.items)
    of_kind = [(source.y == kind).nonzero()[:, 0] for kind in range(kinds)]
    fewest = min(len(rows) for rows in of_kind[: chosen.items])
    if fewest * kinds < chosen.items:
        raise ValueError(f"items is {chosen.items}, but there are only {fewest} originals of some class; ask for fewer")
    return source[torch.stack([of_kind[i % kinds][i // kinds] for i in wanted.tolist()])]
