"""Purification by fewer grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Network, Purify, State


@dataclass(frozen=True)
class BitDepth:
    """Rounds every value to 2^bits levels; an attacker differentiates the identity in its place.

    Source: Xu, Evans and Qi 2018, "Feature squeezing", section on colour depth; surrogate: Athalye et al. 2018 (BPDA).
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    bits: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise ValueError(f"bit_depth takes 1 to 16 bits, not {self.bits}")

    def load(self, state: State, *, victim: Network) -> Purify:
        """The rounding (B, *S) -> (B, *S); nothing is fitted and the victim is not used."""
        return _Rounding(2**self.bits - 1)


@dataclass(frozen=True)
class _Rounding:
    """Rounds to multiples of 1 / steps."""

    steps: int

    def __call__(self, x: Tensor, /) -> Tensor:
        return (x * self.steps).round() / self.steps

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The identity, which the rounding follows to within half a step."""
        return x
