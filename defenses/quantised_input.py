"""A known-broken purifier: rounding without a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Network, Purify, State


@dataclass(frozen=True)
class QuantisedInput:
    """Known broken: rounds every value to a few levels without naming a surrogate, and only looks robust.

    The gradient is zero wherever it exists, so that a gradient attack stands still, while the rounding undoes hardly any
    of a perturbation that is larger than half a step: the identity differentiated in its place breaks it. Bundled to test
    attacks and flags; `bit_depth` is the same with its surrogate. levels: of the box [0, 1], both ends among them.
    Source: Buckman et al. 2018, "Thermometer encoding" (its quantisation); broken by Athalye et al. 2018, section 5.1.
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    levels: int = 16

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ValueError(f"quantised_input takes at least 2 levels, not {self.levels}")

    def load(self, state: State, *, victim: Network) -> Purify:
        """The rounding (B, *S) -> (B, *S); nothing is fitted and the victim is not used."""
        return _Rounding(self.levels - 1)


@dataclass(frozen=True)
class _Rounding:
    """Rounds to multiples of 1 / steps."""

    steps: int

    def __call__(self, x: Tensor, /) -> Tensor:
        return (x * self.steps).round() / self.steps
