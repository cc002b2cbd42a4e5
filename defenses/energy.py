"""Detection by the free energy of the victim's logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Network, Score, State


@dataclass(frozen=True)
class Energy:
    """Scores an input by the energy -T log sum exp(logits / T): high where no class has a large logit.

    temperature: T. Source: Liu et al. 2020, "Energy-based out-of-distribution detection", equation 4 (of a victim that was
    not trained for it).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"energy takes a positive temperature, not {self.temperature}")

    def load(self, state: State, *, victim: Network) -> Score:
        """The energy, (B, *S) -> (B,); nothing is fitted."""
        return _Energy(victim, self.temperature)


@dataclass(frozen=True, eq=False)
class _Energy:
    """Minus the soft maximum of the logits."""

    victim: Network
    temperature: float

    def __call__(self, x: Tensor, /) -> Tensor:
        return -self.temperature * (self.victim(x) / self.temperature).logsumexp(1)
