"""A known-broken purifier: a ripple too small to matter and too steep to differentiate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.types import Network, Purify, State


@dataclass(frozen=True)
class ShatteredGradients:
    """Known broken: a tiny ripple on every value drowns the true gradient, and only looks robust.

    No value moves by more than twice the amplitude (in units of the box [0, 1]), but its derivative swings between
    1 - slope and 1 + slope within a few floats and from place to place, so that a gradient attack follows the signs of
    the ripple. The identity differentiated in its place, or a gradient estimated from values far enough apart, breaks
    it. Bundled to test attacks and flags. Source: Athalye et al. 2018, section 4.1 (shattered gradients).
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    amplitude: float = 5e-4
    slope: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.amplitude < 0.5:
            raise ValueError(f"shattered_gradients takes an amplitude between 0 and 0.5, not {self.amplitude}")
        if self.slope <= 0:
            raise ValueError(f"shattered_gradients takes a positive slope, not {self.slope}")

    def load(self, state: State, *, victim: Network) -> Purify:
        """The ripple (B, *S) -> (B, *S); nothing is fitted and the victim is not used."""
        return _Ripple(self.amplitude, self.slope / self.amplitude)


@dataclass(frozen=True)
class _Ripple:
    """A sine of the values, each place with a phase of its own; values are drawn together so that both fit into the box."""

    amplitude: float
    frequency: float

    def __call__(self, x: Tensor, /) -> Tensor:
        phase = torch.arange(x[0].numel(), device=x.device, dtype=x.dtype).view(x.shape[1:])
        ripple = self.amplitude * (1 + torch.sin(self.frequency * x + phase))
        return (1 - 2 * self.amplitude) * x + ripple
