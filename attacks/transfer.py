"""Adversarial inputs of another network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks._ball import ball
from harness.types import Attack, Budget, Draws, Needs, Network, Spec, View


@dataclass(frozen=True)
class Transfer:
    """What an attack makes of another network's gradients, all steps taken; the system itself is asked for nothing.

    source: the network, by default the row's victim trained from another seed; attack: what perturbs it. Raises
    ValueError if that attack does not work in the norm. Source: Papernot et al. 2016, section 3.
    """

    source: Spec = Spec.of("victim", "self", seed=1)
    attack: Spec = Spec.of("attack", "pgd")

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "patch")
    needs: ClassVar[Needs] = "decision"
    minimal: ClassVar[bool] = False
    knowledge: ClassVar[tuple[str, ...]] = ("oblivious",)  # it counts at an adaptive headline as well

    def perturb(
        self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, source: Network, attack: Attack
    ) -> Tensor:
        """The source's adversarial inputs, pulled into the ball if they were minimal: (B, *S) -> (B, *S)."""
        if budget.norm not in attack.norms:
            raise ValueError(
                f"transfer was asked for {budget.norm}, but its attack {self.attack.name} works in "
                f"{', '.join(attack.norms)} only; name another attack"
            )
        inner = Budget(budget.norm, float("inf"), budget.queries) if attack.minimal else budget
        candidate = attack.perturb(View.of(source), x, y, inner, draws)
        return ball(x, budget).project(candidate.clone()) if attack.minimal else candidate
