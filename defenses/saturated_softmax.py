"""A known-broken training defense: a softmax that rounds to zero and one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Network, State


@dataclass(frozen=True)
class SaturatedSoftmax:
    """Known broken: logits so large that the gradient of cross-entropy rounds to zero, which only looks robust.

    The network answers as the victim does, with logits `temperature` times as large: what distillation at a temperature
    leads to once the temperature is taken away. Labels and margins keep their order, so that a loss of the logits'
    differences, or cross-entropy of rescaled logits, breaks it as it breaks the victim. Bundled to test attacks and
    flags. Source: Papernot et al. 2016, "Distillation as a defense", section IV; broken by Carlini and Wagner 2016,
    "Defensive distillation is not robust to adversarial examples".
    """

    role: ClassVar[Literal["training"]] = "training"
    temperature: float = 100.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"saturated_softmax takes a positive temperature, not {self.temperature}")

    def load(self, state: State, *, victim: Network) -> Network:
        """The victim with enlarged logits; nothing is fitted."""
        return _Saturated(victim, self.temperature)


@dataclass(frozen=True)
class _Saturated:
    """A network whose last layer is multiplied."""

    victim: Network
    temperature: float

    def __call__(self, x: Tensor, /) -> Tensor:
        return self.temperature * self.victim(x)

    def features(self, x: Tensor, /) -> Tensor:
        """The victim's penultimate layer: (B, *S) -> (B, F)."""
        return self.victim.features(x)

    def head(self, features: Tensor, /) -> Tensor:
        """The victim's last layer, enlarged: (B, F) -> (B, K)."""
        return self.temperature * self.victim.head(features)
