"""Adversarial inputs that others have left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class Replay:
    """The stored inputs of the grid's other rows, made from the same clean ones, one row after the other.

    Those of at most `rows` other systems, with every attack at the same norm and epsilon that is listed before this one.
    An input that none of them breaks comes back as the last of them has it.
    """

    rows: int = 20

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "patch")
    needs: ClassVar[Needs] = "decision"
    minimal: ClassVar[bool] = False
    knowledge: ClassVar[tuple[str, ...]] = ("adaptive",)
    uses: ClassVar[tuple[str, ...]] = ("replay",)

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The first stored input that fools the system, else the last: (B, *S) -> (B, *S)."""
        found = x.clone()
        standing = torch.arange(len(x), device=x.device)
        for name, stored in view.stored.items():
            candidate = stored[standing]
            different = (candidate != x[standing]).flatten(1).any(1)
            rows = standing[different]
            found[rows] = candidate[different]
            fooled = view.fooled(found[rows], x[rows], y[rows], budget.epsilon, draws[rows])
            view.note("part", rows[fooled], name)
            standing = torch.cat([standing[~different], rows[~fooled]]).sort().values
            if not len(standing):
                break
        return found
