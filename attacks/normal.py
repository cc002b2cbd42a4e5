"""Perturbations normal to a data manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball
from attacks._loss import accepted, margin
from attacks._manifold import Across, normal_part, noted, of_length_one, require
from attacks._require import at_least_one
from attacks._samples import draws_of
from attacks._search import Ascent, Best, Search, Standing, steepest
from harness.gradients import expectation
from harness.types import Budget, Draws, Manifold, Needs, Spec, View

SHARES = (1.0, 0.5, 0.25)  # of epsilon, at which a random direction is tried


@dataclass(frozen=True)
class Normal:
    """Moves inputs only in directions normal to a manifold: up the gradient, then in random directions, each to the budget.

    The projector is exact, I - Q Q^T for the tangent basis Q at the input, so that a change has no tangent part but what the
    box [0, 1] cuts off (noted as `tangent leakage`, here the share that is normal). steps: up the normal part of the
    margin's gradient; directions: random ones after that, tried at three lengths both ways. Source: Zhang et al. 2024,
    definition 3 and section 4, whose directions come from the code of TNAR and are not normal.
    """

    manifold: Spec = Spec.of("manifold", "pca")
    steps: int = 20
    directions: int = 5
    weight: float = 1.0
    samples: int | None = None

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    moves: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "samples")
        if self.directions < 0:
            raise ValueError(f"normal takes a number of directions from 0 on, not {self.directions}")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, manifold: Manifold) -> Tensor:
        """The best normal change of each input, or the one that fooled the system: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        require(manifold, x, attack="normal")
        with torch.no_grad():
            basis = manifold.tangent_basis(x)
        feasible, rows, best = Across(ball(x, budget), basis), torch.arange(len(x), device=x.device), Best.of(x)
        forward, direction = (
            expectation(view.forward, draws_of(view, self.samples)),
            steepest(accepted(margin, self.weight)),
        )
        everybody = Standing(rows, y, y, feasible, draws, x.clone(), best)
        Search(view, forward, direction, Ascent(2.5 / self.steps), self.steps).run(everybody[rows], best)
        trial = Search(view, forward, direction, Ascent(0.0), 0)
        for number in range(self.directions):
            random = normal_part(draws.stream(f"direction {number}").normal(*x.shape[1:]).to(x), basis)
            step = budget.epsilon * of_length_one(random, feasible.inner)
            for share in (*SHARES, *(-share for share in SHARES)):
                standing = (~best.broken).nonzero()[:, 0] if view.early_exit else rows
                if not len(standing):
                    break
                tried = Standing(rows, y, y, feasible, draws, x + share * step, best)[standing]
                tried.candidate.copy_(tried.feasible.project(tried.candidate))
                trial.run(tried, best)
        noted(view, manifold, best.candidate, x=x, basis=basis)
        return best.candidate
