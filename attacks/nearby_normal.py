"""Perturbations along the normals of points nearby on a data manifold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import Narrowed, ball, length, per_input
from attacks._loss import accepted, margin
from attacks._manifold import OnManifold, normal_part, noted, of_length_one, require
from attacks._require import at_least_one
from attacks._samples import draws_of
from attacks._search import Ascent, Best, Search, Standing, steepest
from harness.gradients import expectation
from harness.types import Budget, Draws, Manifold, Needs, Spec, View

INSIDE = 2 / 3  # of epsilon, as far as the point on the manifold may lie; the normal of that point gets the rest


@dataclass(frozen=True)
class NearbyNormal:
    """Moves each input by up to two thirds of epsilon on a manifold, then by up to a third along the normal there.

    At epsilon = 3e these are the points of the nearby-normal risk at a budget e: within e along the normal of a point that
    lies on the manifold within 2e. Both moves follow the margin's gradient, `steps` times, from the input and from
    `restarts` random points. Notes: distance to the manifold, tangent leakage. Source: Zhang et al. 2024, definition 4.
    """

    manifold: Spec = Spec.of("manifold", "pca")
    steps: int = 40
    restarts: int = 1
    weight: float = 1.0
    samples: int | None = None

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    moves: ClassVar[str] = "nearby_normal"

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "samples")
        if self.restarts < 0:
            raise ValueError(f"nearby_normal takes a number of restarts from 0 on, not {self.restarts}")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, manifold: Manifold) -> Tensor:
        """The point that fooled the system, or came nearest to it: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        require(manifold, x, attack="nearby_normal")
        with torch.no_grad():
            shift, basis = x - manifold.project(x), manifold.tangent_basis(x)
        rows, best = torch.arange(len(x), device=x.device), Best.of(x)
        inside = ball(x, replace(budget, epsilon=INSIDE * budget.epsilon))
        around = OnManifold(inside, manifold, basis, shift)
        feasible = NormalsNearby(ball(x, budget), around, (1 - INSIDE) * budget.epsilon)
        forward = expectation(view.forward, draws_of(view, self.samples))
        search = Search(view, forward, steepest(accepted(margin, self.weight)), Ascent(2.5 / self.steps), self.steps)
        for trial in range(self.restarts + 1):
            begin = feasible.start(draws.stream(f"start {trial}")) if trial else x.clone()
            standing = (~best.broken).nonzero()[:, 0] if view.early_exit else rows
            search.run(Standing(rows, y, y, feasible, draws, begin, best)[standing], best)
        noted(view, manifold, best.candidate, x=x, basis=basis)
        return best.candidate


@dataclass(frozen=True)
class NormalsNearby(Narrowed):
    """Points at most `across` along the normal of a point of `around`."""

    around: OnManifold
    across: float

    @torch.no_grad()
    def project(self, candidate: Tensor) -> Tensor:
        """The candidate's point in `around`, and of the rest what is normal there, cut to length."""
        on = self.around.project(candidate)
        off = normal_part(candidate - on, self.around.manifold.tangent_basis(on - self.around.shift))
        size = length(off, self.inner)
        return self.inner.project(on + per_input((self.across / size.clamp_min(1e-30)).clamp_max(1.0), off) * off)

    def direction(self, gradient: Tensor) -> Tensor:
        """Along the manifold and across it in the proportion of their bounds, however small either part of the gradient is."""
        across = of_length_one(normal_part(gradient, self.around.basis), self.inner)
        return INSIDE * self.around.direction(gradient) + (1 - INSIDE) * across

    def __getitem__(self, rows: Tensor) -> NormalsNearby:
        return NormalsNearby(self.inner[rows], self.around[rows], self.across)
