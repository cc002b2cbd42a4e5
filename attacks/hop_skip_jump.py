"""HopSkipJump."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from attacks._require import at_least_one
from attacks.foolbox import Foolbox
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class HopSkipJump:
    """Steps along a gradient of the boundary that is estimated from decisions alone: wrong and accepted, or not.

    steps: of the walk; each asks for `evaluations` decisions and more. Source: Chen et al. 2020, algorithm 2, as foolbox
    runs it.
    """

    steps: int = 32
    evaluations: int = 100

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "decision"
    minimal: ClassVar[bool] = True
    by_shard: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "evaluations")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest input found, else the clean one: (B, *S) -> (B, *S)."""
        most = max(10_000, self.evaluations)
        options = f"steps={self.steps}, initial_gradient_eval_steps={self.evaluations}, max_gradient_eval_steps={most}"
        return Foolbox("HopSkipJumpAttack", options).perturb(replace(view, forward=None), x, y, budget, draws)
