"""Clean inputs made to be rejected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._adaptive_step import AdaptiveAscent
from attacks._ball import ball, per_input
from attacks._require import at_least_one
from attacks._search import Point, ascent_direction
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class Availability:
    """Ascent of a detector's score until the input is rejected, whatever its label: what an attacker can deny to others.

    A system that never rejects gets its inputs back. Its inputs never count in the worst case.
    """

    steps: int = 50

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    knowledge: ClassVar[tuple[str, ...]] = ("adaptive",)
    goal: ClassVar[str] = "rejection"

    def __post_init__(self) -> None:
        at_least_one(self, "steps")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The inputs of the highest score found: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        feasible, rule, memory = ball(x, budget), AdaptiveAscent(self.steps), dict[str, Tensor]()
        candidate, best = feasible.start(draws.stream("start")), x.clone()
        highest = torch.full_like(y, -torch.inf, dtype=x.dtype)
        for step in range(self.steps + 1):
            leaf = candidate.detach().requires_grad_()
            with torch.enable_grad():
                margin = view.forward(leaf, draws.stream(step)).margin
            if margin is None:
                break
            found = margin.detach().nan_to_num(nan=torch.inf)
            best = torch.where(per_input(found > highest, x), candidate, best)
            highest = torch.maximum(highest, found)
            if step < self.steps:
                candidate = rule(Point(candidate, found, ascent_direction(margin, leaf), step), feasible, memory)
        return best
