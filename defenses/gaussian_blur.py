"""Purification by a Gaussian filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.types import Network, Purify, State


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs images with a Gaussian kernel, reflected at the border; differentiable, so that it is its own surrogate.

    sigma: width in pixels. kernel: pixels on a side, odd. Raises ValueError for inputs that are not (B, C, H, W) with
    sides larger than half a kernel.
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    sigma: float = 1.0
    kernel: int = 3

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"gaussian_blur takes an odd positive kernel, not {self.kernel}")
        if self.sigma <= 0:
            raise ValueError(f"gaussian_blur takes a positive sigma, not {self.sigma}")

    def load(self, state: State, *, victim: Network) -> Purify:
        """The filter (B, C, H, W) -> (B, C, H, W); nothing is fitted and the victim is not used."""
        half = self.kernel // 2
        weights = [math.exp(-0.5 * (offset / self.sigma) ** 2) for offset in range(-half, half + 1)]
        return _Blur(tuple(weight / sum(weights) for weight in weights))


@dataclass(frozen=True)
class _Blur:
    """Filters rows, then columns, with the same weights."""

    weights: tuple[float, ...]

    def __call__(self, x: Tensor, /) -> Tensor:
        half = len(self.weights) // 2
        if x.ndim != 4 or min(x.shape[-2:]) <= half:
            raise ValueError(f"gaussian_blur takes images (B, C, H, W) with sides over {half}, not {tuple(x.shape)}")
        blurred = functional.pad(x, (half, half, half, half), mode="reflect")
        for dim in (2, 3):
            length = x.shape[dim]
            shifted = [w * blurred.narrow(dim, i, length) for i, w in enumerate(self.weights)]
            blurred = torch.stack(shifted).sum(0)
        # Rounding can pass 1 in white areas; the correction must not cut the gradient there.
        return blurred + (blurred.clamp(0.0, 1.0) - blurred).detach()
