"""Projected gradient ascent along a data manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from attacks._ball import Feasible, ball, per_input, unit
from attacks._loss import accepted, margin
from attacks._manifold import OnManifold, noted, require
from attacks._require import at_least_one
from attacks._samples import draws_of
from attacks._search import Ascent, Best, Memory, Point, Rule, Search, Standing, steepest
from harness.gradients import expectation
from harness.types import Budget, Draws, Manifold, Needs, Spec, View


@dataclass(frozen=True)
class OnManifoldPGD:
    """Ascends the margin along a manifold's tangent directions at the input, and projects every step back to the manifold.

    The tangent part of the gradient is normalised, for it is small, and `step_size` is a share of epsilon (None: 2.5 /
    steps); the tangent basis stays that of the input. local_step: instead, Euclidean steps of so many of the manifold's local
    scales at the input, the mean distance to the nearest data points. residual: what the input differs from its own
    projection is kept, so that the search begins at the input; without, as printed, iterates are projections, and an input
    whose projection alone is misclassified is given back unchanged, noted as `projection alone`. Notes: distance to the
    manifold, tangent leakage. Source: Mahler et al. 2024, algorithm 1, which has no ball, no cap on the steps and a step of
    10^6.38.
    """

    manifold: Spec = Spec.of("manifold", "pca")
    steps: int = 40
    step_size: float | None = None
    local_step: float | None = None
    residual: bool = True
    weight: float = 1.0
    samples: int | None = None

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    moves: ClassVar[str] = "in_manifold"

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "samples")
        if self.local_step is not None and not (self.local_step > 0 and self.step_size is None):
            given = f"local_step = {self.local_step} and step_size = {self.step_size}"
            raise ValueError(
                f"on_manifold_pgd takes a positive local_step, or a step_size, not both; it was given {given}"
            )

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, manifold: Manifold) -> Tensor:
        """The best point near the manifold of each input, or the one that fooled the system: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        require(manifold, x, attack="on_manifold_pgd")
        rows, best, inner = torch.arange(len(x), device=x.device), Best.of(x), ball(x, budget)
        with torch.no_grad():
            projected, basis = manifold.project(x), manifold.tangent_basis(x)
        shift = x - projected if self.residual else torch.zeros_like(x)
        feasible = OnManifold(inner, manifold, basis, shift)
        rule, memory = self._steps(manifold, x)
        direction = steepest(accepted(margin, self.weight))
        search = Search(view, expectation(view.forward, draws_of(view, self.samples)), direction, rule, self.steps)
        start = x.clone() if self.residual else inner.project(projected.clone())
        alone = self._alone(view, start, x, y, budget, draws)
        standing = Standing(rows, y, y, feasible, draws, start, best, memory)
        search.run(standing[(~alone).nonzero()[:, 0]], best)
        noted(view, manifold, best.candidate, x=x, basis=basis)
        return best.candidate

    def _steps(self, manifold: Manifold, x: Tensor) -> tuple[Rule, Memory]:
        """The step rule and what it needs to know of each input; raises TypeError for a manifold without a local scale."""
        if self.local_step is None:
            return Ascent(2.5 / self.steps if self.step_size is None else self.step_size), {}
        scale = getattr(manifold, "scale", None)
        if not callable(scale):
            raise TypeError(
                f"local_step counts in a manifold's local scale, which {type(manifold).__name__} lacks; give step_size, "
                "or a manifold such as conformally_invariant_diffusion_map"
            )
        length: Tensor = self.local_step * cast("Tensor", scale(x))
        return LocalAscent(), {"length": length}

    def _alone(self, view: View, start: Tensor, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """Inputs that the projection alone makes misclassified, (B,) bool."""
        if self.residual:
            return torch.zeros_like(y, dtype=torch.bool)
        alone = view.fooled(start, x, y, budget.epsilon, draws)
        view.note("projection alone", torch.arange(len(x), device=x.device), alone.to(x))
        return alone


@dataclass(frozen=True)
class LocalAscent:
    """Steps along the steepest ascent, of the Euclidean length that the memory holds for each input."""

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        direction = unit(feasible.direction(point.gradient))
        return feasible.project(point.candidate + per_input(memory["length"], direction) * direction)
