"""Purification by random noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Draws, Network, State


@dataclass(frozen=True)
class GaussianNoise:
    """Adds Gaussian noise to every input, the simplest randomised smoothing.

    std: standard deviation in units of the box [0, 1], to which the noisy input is clipped. Source: Cohen, Rosenfeld
    and Kolter 2019, "Certified adversarial robustness via randomized smoothing" (one draw a pass).
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    random: ClassVar[bool] = True
    std: float = 0.1

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ValueError(f"gaussian_noise takes a standard deviation of at least 0, not {self.std}")

    def load(self, state: State, *, victim: Network) -> _Noise:
        """The noise (B, *S), draws -> (B, *S); nothing is fitted and the victim is not used."""
        return _Noise(self.std)


@dataclass(frozen=True)
class _Noise:
    """Adds std times the normal numbers of the draws."""

    std: float

    def __call__(self, x: Tensor, draws: Draws, /) -> Tensor:
        noise = draws.normal(*x.shape[1:]).to(x)
        return (x + self.std * noise).clamp(0.0, 1.0)
