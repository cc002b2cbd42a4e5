"""A known-broken random purifier: every image resized and padded at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._images import sides
from harness.types import Draws, Network, State


@dataclass(frozen=True)
class RandomResizing:
    """Known broken: shrinks every image at random and pads it with zeros at a random place, and only looks robust.

    An attack on one draw meets another draw when it is judged; the mean gradient over draws (expectation over
    transformation) breaks it. Bundled to test attacks and flags. smallest: the least side as a share of the image's; all
    whole sides from there up are equally likely. Bilinear and differentiable. Raises ValueError for inputs that are not
    (B, C, H, W). Source: Xie et al. 2018, "Mitigating adversarial effects through randomization" (who enlarge the image
    and pad to a still larger one); broken by Athalye et al. 2018, section 5.3.
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    random: ClassVar[bool] = True
    smallest: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= 1:
            raise ValueError(f"random_resizing takes a smallest share in (0, 1], not {self.smallest}")

    def load(self, state: State, *, victim: Network) -> _Resizing:
        """The resizing (B, C, H, W), draws -> (B, C, H, W); nothing is fitted and the victim is not used."""
        return _Resizing(self.smallest)


@dataclass(frozen=True)
class _Resizing:
    """Multiplies rows and columns by the matrices of each image's own resizing."""

    smallest: float

    def __call__(self, x: Tensor, draws: Draws, /) -> Tensor:
        height, width = sides(x, "random_resizing")
        least = max(1, round(self.smallest * height))
        share = (least + draws.integers(height - least + 1)) / height
        place = draws.stream("place").uniform(2)
        rows = _placed(height, share, place[:, 0]).to(x)
        columns = _placed(width, share, place[:, 1]).to(x)
        return rows[:, None] @ x @ columns[:, None].mT


def _placed(length: int, share: Tensor, place: Tensor) -> Tensor:
    """Matrices (B, length, length) that shrink a line to a share (B,) of it and put it at a place (B,) in [0, 1)."""
    short = (share * length).round().clamp(min=1)[:, None]
    first = (place[:, None] * (length - short + 1)).floor()
    pixel = torch.arange(length, device=share.device)
    source = ((pixel - first + 0.5) * (length / short) - 0.5).clamp(0, length - 1)
    weights = (1 - (source[..., None] - pixel).abs()).clamp(min=0)
    shown = (pixel >= first) & (pixel < first + short)
    return weights * shown[..., None]
