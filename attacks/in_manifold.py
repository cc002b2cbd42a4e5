"""Perturbations along the most sensitive direction inside a data manifold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball, per_input
from attacks._latent import Decoded, backward_product, forward_product
from attacks._loss import accepted, margin
from attacks._manifold import noted, require
from attacks._require import at_least_one
from attacks._samples import draws_of
from attacks._search import Ascent, Best, Search, Standing, steepest
from harness.gradients import expectation
from harness.types import Budget, Draws, LatentManifold, Needs, Spec, View

SHARES = (1.0, 0.75, 0.5, 0.25)  # of the way to the budget, at which a direction is tried
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InManifold:
    """Moves inputs by g(z + s eta) - g(z) along the latent direction that changes the prediction most for its length.

    g is the manifold's decoder, J its Jacobian at the code z, and H the Hessian of the Kullback-Leibler divergence of the
    prediction; eta has the largest mu in J^T H J eta = mu J^T J eta, by `iterations` power steps, each solved by
    `conjugate` steps of conjugate gradients. Both ways along it, at four lengths up to the budget. Notes: distance to the
    manifold, tangent leakage. Source: Zhang et al. 2024, section 4; Yu et al. 2019, "Tangent-normal adversarial
    regularization", whose published code divides by the largest entry instead of the length.
    """

    manifold: Spec = Spec.of("manifold", "pca")
    iterations: int = 8
    conjugate: int = 8
    samples: int | None = None

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    moves: ClassVar[str] = "in_manifold"

    def __post_init__(self) -> None:
        at_least_one(self, "iterations", "conjugate", "samples")

    def perturb(
        self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, manifold: LatentManifold
    ) -> Tensor:
        """The change of each input that fooled the system, or came nearest to it: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        require(manifold, x, attack="in_manifold", methods=("encode", "decode"))
        forward, feasible = expectation(view.forward, draws_of(view, self.samples)), ball(x, budget)
        decoded = Decoded(manifold.decode, manifold.encode(x).detach())
        eta = self._direction(lambda candidate: forward(candidate, draws).logits, decoded, x, draws)
        rows, best = torch.arange(len(x), device=x.device), Best.of(x)
        trial = Search(view, forward, steepest(accepted(margin, 1.0)), Ascent(0.0), 0)
        for way in (eta, -eta):
            far = decoded.reach(way, feasible)
            for share in SHARES:
                with torch.no_grad():
                    candidate = feasible.project(x + decoded.change(per_input(share * far, eta) * way))
                standing = (~best.broken).nonzero()[:, 0] if view.early_exit else rows
                trial.run(Standing(rows, y, y, feasible, draws, candidate, best)[standing], best)
        noted(view, manifold, best.candidate, x=x)
        return best.candidate

    def _direction(self, logits: Product, decoded: Decoded, x: Tensor, draws: Draws) -> Tensor:
        """The generalised eigenvector of the largest eigenvalue, |J eta| = 1: (B, d)."""
        zero = torch.zeros_like(decoded.z)

        def through(eta: Tensor) -> Tensor:
            return logits(x + decoded.change(eta))

        with torch.no_grad():
            likely = torch.softmax(through(zero), 1)

        def curvature(eta: Tensor) -> Tensor:
            moved = forward_product(through, zero, eta)
            return backward_product(through, zero, likely * moved - likely * (likely * moved).sum(1, keepdim=True))

        def metric(eta: Tensor) -> Tensor:
            return decoded.backward_product(zero, decoded.forward_product(zero, eta))

        eta = draws.stream("direction").normal(*zero.shape[1:]).to(zero)
        for _ in range(self.iterations):
            eta = _solved(metric, curvature(eta), steps=self.conjugate)
            size = (eta * metric(eta)).sum(1).clamp_min(1e-30).sqrt()
            eta = eta / per_input(size, eta)
        return eta


def _solved(metric: Product, right: Tensor, *, steps: int) -> Tensor:
    """The solution of metric(v) = right by conjugate gradients, for each row (B, d) on its own."""
    solution, residual = torch.zeros_like(right), right.clone()
    direction, square = residual.clone(), residual.square().sum(1)
    smallest = 1e-12 * square.clamp_min(1e-30)
    for _ in range(min(steps, right.shape[1])):
        image = metric(direction)
        going = square > smallest
        step = torch.where(going, square / (direction * image).sum(1).clamp_min(1e-30), 0.0)
        solution = solution + per_input(step, right) * direction
        residual = residual - per_input(step, right) * image
        following = residual.square().sum(1)
        direction = (
            residual + per_input(torch.where(going, following / square.clamp_min(1e-30), 0.0), right) * direction
        )
        square = following
    return solution
