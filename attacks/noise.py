"""Noise, the attack that knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import Feasible, ball, unit
from attacks._patch import somewhere
from attacks._require import at_least_one
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class Noise:
    """The first of `repeats` random perturbations that fools the system, else the last.

    Uniform in the linf ball, uniform on the l2 sphere, uniform values at epsilon pixels for l0 and, for patch, in a
    square at one of the sixteen places where `patch_pgd` searches; then into the box.
    """

    repeats: int = 10

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l0", "patch")
    needs: ClassVar[Needs] = "decision"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "repeats")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """Inputs with noise: (B, *S) -> (B, *S)."""
        noisy = x.clone()
        standing = torch.arange(len(x), device=x.device)
        for repeat in range(self.repeats):
            mine = draws[standing].stream(repeat)
            if budget.norm == "patch":
                feasible: Feasible = somewhere(x[standing], budget.epsilon, mine)
            else:
                feasible = ball(x[standing], budget)
            if budget.norm == "l2":
                sphere = unit(mine.normal(*x.shape[1:]).to(x))
                candidate = feasible.project(feasible.x + budget.epsilon * sphere)
            else:
                candidate = feasible.start(mine)
            noisy[standing] = candidate
            fooled = view.fooled(candidate, feasible.x, y[standing], budget.epsilon, mine)
            standing = standing[~fooled]
            if not len(standing):
                break
        return noisy
