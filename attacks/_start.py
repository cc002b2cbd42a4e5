"""Where searches begin: at a random point of the ball, or where a search at a smaller epsilon ended."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks._ball import Feasible, per_input
from harness.types import Budget, Draws, View


def first_start(view: View, feasible: Feasible, budget: Budget, draws: Draws, *, otherwise: Tensor | None) -> Tensor:
    """Where a first run begins: `view.start` stretched to the whole ball; for inputs that it left alone, `otherwise`.

    otherwise (B, *S): None for a random point. The result may be written to.
    """
    start = feasible.start(draws) if otherwise is None else otherwise.clone()
    if view.start is None:
        return start
    offset = view.start.to(start) - feasible.x
    length = _length(offset, budget.norm)
    factor = budget.epsilon / length.clamp_min(torch.finfo(length.dtype).tiny)
    stretched = feasible.project(feasible.x + offset * per_input(factor.clamp_max(1e6), offset))
    return torch.where(per_input(length > 0, offset), stretched, start)


def _length(offset: Tensor, norm: str) -> Tensor:
    """Length of each (B, *S) in linf, l2 or l1 (of another norm, infinity's): (B,)."""
    order = {"l2": 2.0, "l1": 1.0}.get(norm, torch.inf)
    length: Tensor = torch.linalg.vector_norm(offset.flatten(1), ord=order, dim=1)
    return length
