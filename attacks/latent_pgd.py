"""Gradient ascent on the latent code of a data manifold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import Feasible, ball, length, per_input
from attacks._latent import Decoded
from attacks._loss import accepted, margin
from attacks._manifold import noted, require
from attacks._require import at_least_one
from attacks._samples import draws_of
from attacks._search import Best, Memory, Point, Search, Standing, steepest
from harness.gradients import expectation
from harness.types import Budget, Draws, LatentManifold, Needs, Spec, View


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
    samples: int | None = None

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    moves: ClassVar[str] = "in_manifold"

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "samples")

    def perturb(
        self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws, *, manifold: LatentManifold
    ) -> Tensor:
        """The best decoded change of each input, or the one that fooled the system: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        require(manifold, x, attack="latent_pgd", methods=("encode", "decode"))
        best, rows = Best.of(x), torch.arange(len(x), device=x.device)
        z = manifold.encode(x).detach()
        codes = {"z": z, "eta": torch.zeros_like(z)}
        rule = LatentAscent(manifold.decode, 2.5 / self.steps if self.step_size is None else self.step_size)
        everybody = Standing(rows, y, y, ball(x, budget), draws, x.clone(), best, codes)
        forward = expectation(view.forward, draws_of(view, self.samples))
        Search(view, forward, steepest(accepted(margin, self.weight)), rule, self.steps).run(everybody[rows], best)
        noted(view, manifold, best.candidate, x=x)
        return best.candidate


@dataclass(frozen=True)
class LatentAscent:
    """Steps of `size` (a share of epsilon, in the input's norm) on the codes z + eta that the memory holds."""

    decode: Callable[[Tensor], Tensor]
    size: float

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        decoded, eta = Decoded(self.decode, memory["z"]), memory["eta"]
        ascent = decoded.backward_product(eta, point.gradient)
        speed = length(decoded.forward_product(eta, ascent), feasible)
        scale = torch.where(speed > 0, self.size * feasible.epsilon / speed.clamp_min(1e-30), 0.0)
        with torch.no_grad():
            memory["eta"] = decoded.within(eta + per_input(scale, eta) * ascent, feasible)
            return feasible.project(feasible.x + decoded.change(memory["eta"]))
