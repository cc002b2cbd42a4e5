"""Clean inputs with uniform noise added."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.types import Draws


@dataclass(frozen=True)
class UniformNoise:
    """Clean inputs with harmless uniform noise of at most epsilon a pixel, clipped to [0, 1]: (B, *S) -> (B, *S)."""

    epsilon: float = 0.025

    def apply(self, x: Tensor, draws: Draws) -> Tensor:
        """The inputs with noise."""
        return (x + self.epsilon * (2 * draws.uniform(*x.shape[1:]) - 1)).clamp_(0, 1)
