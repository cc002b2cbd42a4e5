"""An expensive attack that is tried on a few inputs first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from attacks._require import at_least_one
from harness.types import Attack, Budget, Draws, Needs, Spec, View


@dataclass(frozen=True)
class Escalate:
    """Another attack on the first `trial` inputs that still stand, and on all of them only if at least `least` fall there.

    Raises ValueError for an attack that works in other norms, or that looks for the nearest input.
    """

    attack: Spec = Spec.of("attack", "apgd", loss="margin", targets=3)
    trial: int = 200
    least: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    knowledge: ClassVar[tuple[str, ...]] = ("adaptive",)

    def __post_init__(self) -> None:
        at_least_one(self, "trial", "least")

    def perturb(
        self,
        view: View,
        x: Tensor,
        y: Tensor,
        budget: Budget,
        draws: Draws,
        *,
        attack: Attack,
        pilot: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """The attack's inputs, or the clean ones where too few fell in the trial: (B, *S) -> (B, *S)."""
        if pilot is not None and pilot["fell"] < self.least:
            return x.clone()
        return attack.perturb(view, x, y, budget, draws)

    def pilot(
        self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, attack: Attack
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """The attack on the trial's inputs, and how many fell: (B, *S), a record."""
        if attack.minimal or budget.norm not in attack.norms:
            raise ValueError(
                f"escalate was given {self.attack.name} at {budget.norm}; expected an attack that works in that ball"
            )
        if not len(x):
            return x.clone(), {"fell": 0, "inputs": 0}
        answer = attack.perturb(view, x, y, budget, draws)
        fell = view.fooled(answer, x, y, budget.epsilon, draws)
        return answer, {"fell": int(fell.sum()), "inputs": len(x)}
