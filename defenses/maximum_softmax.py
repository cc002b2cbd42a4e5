"""Detection by the confidence of the victim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Network, Score, State


@dataclass(frozen=True)
class MaximumSoftmax:
    """Scores an input by how little probability the victim gives to the class that it finds most likely.

    The score is log((1 - p) / p) of the largest probability p, which orders inputs as -p does, but neither rounds nor loses
    its gradient where p is near 1. temperature: what logits are divided by. Source: Hendrycks and Gimpel 2017, "A baseline
    for detecting misclassified and out-of-distribution examples in neural networks".
    """

    role: ClassVar[Literal["detector"]] = "detector"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"maximum_softmax takes a positive temperature, not {self.temperature}")

    def load(self, state: State, *, victim: Network) -> Score:
        """The log-odds against the most likely class, (B, *S) -> (B,); nothing is fitted."""
        return _Odds(victim, self.temperature)


@dataclass(frozen=True, eq=False)
class _Odds:
    """Log-odds of all other classes against the largest."""

    victim: Network
    temperature: float

    def __call__(self, x: Tensor, /) -> Tensor:
        logits = self.victim(x) / self.temperature
        largest = logits.argmax(1, keepdim=True)
        others = logits.scatter(1, largest, -math.inf).logsumexp(1)
        return others - logits.gather(1, largest)[:, 0]
