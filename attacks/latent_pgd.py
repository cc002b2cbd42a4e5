"""Gradient ascent on the latent code of a data manifold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball
from attacks._latent import Decoded, length, per_code
from attacks._loss import accepted, margin
from attacks._manifold import noted, require
from attacks._require import at_least_one
from attacks._search import Ascent, Best, Search, Standing, steepest
from harness.gradients import Forward, expectation
from harness.types import Budget, Draws, Manifold, Needs, Spec, View


@dataclass(frozen=True)
class LatentPGD:
    """Ascends the margin over a manifold's latent code; the input is changed by g(z + eta) - g(z), g the decoder.

    Each step is one of `step_size` times epsilon (None: 2.5 / steps) in the input's norm, and a code whose change is
    longer than epsilon is moved back towards z. Notes: distance to the manifold, tangent leakage. Source: Zhang et al. 2024,
    section 4 (in-manifold attacks search along g(z + eta) - g(z)); Stutz et al. 2019, "Disentangling adversarial
    robustness and generalization", section 3.3.
    """

    manifold: Spec = Spec.of("manifold", "pca")
    steps: int = 40
    step_size: float | None = None
    weight: float = 1.0
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, manifold: Manifold) -> Tensor:
        """The best decoded change of each input, or the one that fooled the system: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        require(manifold, x, attack="latent_pgd", methods=("encode", "decode"))
        forward, best = expectation(view.forward, self.samples), Best.of(x)
        rows = torch.arange(len(x), device=x.device)
        decoded = Decoded(manifold.decode, manifold.encode(x).detach())  # type: ignore[attr-defined]
        standing = Standing(rows, y, y, ball(x, budget), draws, x.clone(), best)
        eta = torch.zeros_like(decoded.z)
        quiet = replace(view, note=_silent)
        for step in range(self.steps + 1):
            self._judge(quiet, forward, standing, best, step)
            keep = (~best.broken[standing.rows]).nonzero()[:, 0] if view.early_exit else torch.arange(len(eta))
            standing, decoded, eta = standing[keep], decoded[keep], eta[keep]
            if step == self.steps or not len(keep):
                break
            eta = self._stepped(forward, standing, decoded, eta, step=step)
            with torch.no_grad():
                candidate = standing.feasible.project(standing.feasible.x + decoded.change(eta))
            standing = replace(standing, candidate=candidate)
        view.note("loss", rows, best.loss)
        noted(view, manifold, best.candidate, x=x, basis=manifold.tangent_basis(x).detach())
        return best.candidate

    def _judge(self, view: View, forward: Forward, standing: Standing, best: Best, step: int) -> None:
        """What the harness makes of the candidates, in `best`."""
        now = replace(standing, best=best[standing.rows], draws=standing.draws.stream(step))
        Search(view, forward, steepest(accepted(margin, self.weight)), Ascent(0.0), 0).run(now, best)

    def _stepped(self, forward: Forward, standing: Standing, decoded: Decoded, eta: Tensor, *, step: int) -> Tensor:
        """Codes one step up the gradient, still inside the ball."""
        x = standing.candidate.detach().requires_grad_()
        with torch.enable_grad():
            outputs = forward(x, standing.draws.stream(step))
        _, gradient = steepest(accepted(margin, self.weight))(outputs, standing.labels, x)
        ascent = decoded.backward_product(eta, gradient)
        speed = length(decoded.forward_product(eta, ascent), standing.feasible)
        size = (2.5 / self.steps if self.step_size is None else self.step_size) * standing.feasible.epsilon
        scale = torch.where(speed > 0, size / speed.clamp_min(1e-30), 0.0)
        return decoded.within(eta + per_code(scale, eta) * ascent, standing.feasible)


def _silent(name: str, rows: Tensor, values: Tensor | str) -> None:
    """Nothing of the single steps is recorded."""
