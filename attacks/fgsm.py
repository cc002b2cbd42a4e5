"""The fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball
from attacks._loss import accepted, cross_entropy
from attacks._require import at_least_one
from attacks._search import ascent_direction
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class FGSM:
    """One step of length epsilon from the clean input along the steepest ascent of cross-entropy.

    The sign of the gradient for linf, the normalised gradient for l2. weight: of the margin of a system that may
    reject; samples: draws a gradient is the mean of. Source: Goodfellow et al. 2015, section 4.
    """

    weight: float = 1.0
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The inputs after the step: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            outputs = expectation(view.forward, self.samples)(leaf, draws)
            loss = accepted(cross_entropy, self.weight)(outputs, y)
        feasible = ball(x, budget)
        direction = feasible.direction(ascent_direction(loss, leaf))
        return feasible.project(x + budget.epsilon * direction)
