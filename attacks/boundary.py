"""The boundary attack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from attacks._require import at_least_one
from attacks.foolbox import Foolbox
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class Boundary:
    """A walk along the boundary towards the input, by decisions alone: wrong and accepted, or not.

    steps: decisions an input, about. Source: Brendel et al. 2018, algorithm 1, as foolbox runs it.
    """

    steps: int = 5000

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    needs: ClassVar[Needs] = "decision"
    minimal: ClassVar[bool] = True
    by_shard: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least_one(self, "steps")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest input found, else the clean one: (B, *S) -> (B, *S)."""
        attack = Foolbox("BoundaryAttack", f"steps={self.steps}")
        return attack.perturb(replace(view, forward=None), x, y, budget, draws)
