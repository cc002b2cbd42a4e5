"""The fast adaptive boundary attack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball, per_input
from attacks._confirm import confirmed
from attacks._loss import most_likely_wrong, targeted_margin
from attacks._plane import to_plane
from attacks._require import at_least_one
from attacks._search import ascent_direction
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, Outputs, View

ORDER = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}


@dataclass(frozen=True)
class FAB:
    """The nearest adversarial input by steps to the boundary, as linearised, that are pulled towards the clean input.

    Each of the `targets` most likely wrong classes is searched for `steps` steps from the clean input. A step ends `eta`
    times as far as the hyperplane where the target's logit is the label's, at a mean of its projections from the
    iterate and from the clean input, the latter weighing at most `alpha_max`; a success is drawn back to `beta` of its
    change. Each step costs one pass: the hyperplane is that of the success, not of the point drawn back. For a system that may reject
    the larger of the two lacks, of class and of acceptance, is linearised. Given an epsilon, an input
    leaves once it is fooled within. Source: Croce and Hein 2020b, algorithm 1.
    """

    steps: int = 100
    targets: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "targets", "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest input found that the harness calls fooled, else the clean one: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        infinite = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        nearest, broken = _Nearest(x.clone(), infinite), torch.zeros_like(y, dtype=torch.bool)
        with torch.no_grad():
            likely = most_likely_wrong(view.forward(x, draws).logits, y, self.targets)
        for run, target in enumerate(likely):
            rows = (~broken).nonzero()[:, 0]
            chase = _Chase(rows, x[rows], torch.stack([y, target], 1)[rows], draws.stream(run)[rows], x[rows])
            self._run(view, chase, budget, nearest, broken)
        if budget.epsilon == float("inf"):
            found = torch.isfinite(nearest.distance)
            return confirmed(view, nearest.candidate, x=x, y=y, found=found, draws=draws)
        return nearest.candidate

    def _run(self, view: View, chase: _Chase, budget: Budget, nearest: _Nearest, broken: Tensor) -> None:
        """All steps to one target, noting what is nearer than before."""
        assert view.forward is not None, "needs = gradient"
        forward = expectation(view.forward, self.samples)
        for step in range(self.steps + 1):
            last = step == self.steps
            leaf = chase.candidate.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                outputs = forward(leaf, chase.draws.stream(step))
                value = _value(outputs, chase.labels)
            success = outputs.fooled(chase.labels[:, 0])
            nearest.offer(chase, leaf.detach(), success, budget.norm)
            if last:
                break
            plane = _Plane(value.detach(), ascent_direction(value, leaf))
            chase = replace(chase, candidate=self._moved(chase, plane, success, budget.norm))

    def _moved(self, chase: _Chase, plane: _Plane, success: Tensor, norm: str) -> Tensor:
        """The next iterates (B, *S)."""
        x, candidate = chase.x.flatten(1), chase.candidate.detach().flatten(1)
        base = torch.where(success[:, None], torch.lerp(x, candidate, self.beta), candidate)
        normal = plane.gradient.flatten(1)
        reached = torch.linalg.vecdot(normal, candidate) - plane.value
        both, twice = torch.cat([base, x]), torch.cat([normal, normal])
        change = to_plane(both, twice, reached.repeat(2) - torch.linalg.vecdot(twice, both), norm)
        length = torch.linalg.vector_norm(change, ord=ORDER[norm], dim=1).clamp_min(1e-8)
        own, clean = length.chunk(2)
        alpha = (own / (own + clean)).clamp(max=self.alpha_max)[:, None]
        one, two = both.add_(change, alpha=self.eta).chunk(2)
        return torch.lerp(one, two, alpha).clamp_(0, 1).view_as(chase.x)


def _value(outputs: Outputs, labels: Tensor) -> Tensor:
    """What must be raised to 0: the target's logit minus the label's, or minus the margin where that is lower: (B,)."""
    value = targeted_margin(outputs, labels)
    return value if outputs.margin is None else torch.minimum(value, -outputs.margin)


@dataclass(frozen=True)
class _Plane:
    """A function of the input, linearised: its value (B,) and gradient (B, *S) at the candidate."""

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class _Chase:
    """The inputs in a run, `rows` of all, with label and target (B, 2)."""

    rows: Tensor
    x: Tensor
    labels: Tensor
    draws: Draws
    candidate: Tensor


@dataclass(frozen=True)
class _Nearest:
    """The nearest success of each input, and its distance; infinite where there is none."""

    candidate: Tensor
    distance: Tensor

    def offer(self, chase: _Chase, candidate: Tensor, success: Tensor, norm: str) -> None:
        """Take over what is nearer."""
        distance = torch.linalg.vector_norm((candidate - chase.x).flatten(1), ord=ORDER[norm], dim=1)
        better = (success & (distance < self.distance[chase.rows])).nonzero()[:, 0]
        self.candidate[chase.rows[better]] = candidate[better]
        self.distance[chase.rows[better]] = distance[better]
