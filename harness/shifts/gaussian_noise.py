"""Images of Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.types import Draws


@dataclass(frozen=True)
class GaussianNoise:
    """Images of independent Gaussian pixels, clipped to [0, 1], that show nothing.

    mean and standard deviation `std` in units of the box. (B, *S) -> (B, *S); the clean inputs give the shape only.
    """

    mean: float = 0.5
    std: float = 0.25

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        """Noise of the shape of x."""
        return (self.mean + self.std * draws.normal(*x.shape[1:])).clamp_(0, 1)
