"""The fast adaptive boundary attack."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball, per_input
from attacks._confirm import confirmed
from attacks._loss import most_likely_wrong, targeted_margin
from attacks._plane import to_plane
from attacks._reach import Reach
from attacks._require import at_least_one
from attacks._search import ascent_direction
from attacks._together import runs_at_once
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, Outputs, View

ORDER = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}


@dataclass(frozen=True)
class FAB:
    """The nearest adversarial input by steps onto the linearised boundary, drawn towards the clean input.

    Each of the `targets` most likely wrong classes is approached for `steps` steps, `restarts` times: from the clean
    input, then from random points near it. A step goes `eta` times as far as the plane on which the target's logit is
    the label's, for the iterate and the clean input, and ends between, at most `alpha_max` of the way to the latter's
    point; a success is first drawn back to `beta` of its change. One pass a step: the plane is that of the success. For
    a system that may reject, the worse of class and acceptance is linearised. give_up: an input leaves a run that will
    not come nearer than what was found, or than epsilon; where that is finite, also once it is fooled within. samples:
    draws a gradient is the mean of. Source: Croce and Hein 2020, "Minimally distorted adversarial examples", algorithm 1.
    """

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    give_up: bool = True
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "targets", "restarts", "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest input found that the harness calls fooled, else the clean one: (B, *S) -> (B, *S)."""
        nearest, chases = _Nearest.of(x), list(self._chases(view, x, y, draws))
        standing, done = torch.arange(len(x), device=x.device), 0
        while done < len(chases) and len(standing):
            number = 1 if math.isinf(budget.epsilon) else runs_at_once(view, len(standing), len(chases) - done)
            self._together(view, chases[done : done + number], standing, budget, nearest, done)
            standing, done = (~nearest.broken).nonzero()[:, 0], done + number
        if math.isinf(budget.epsilon):
            found = torch.isfinite(nearest.distance)
            return confirmed(view, nearest.candidate, x=x, y=y, found=found, draws=draws)
        inside = ball(x, budget).project(nearest.candidate.clone())
        return torch.where(per_input(nearest.broken, x), nearest.candidate, inside)

    def _together(
        self, view: View, chases: list[_Chase], rows: Tensor, budget: Budget, nearest: _Nearest, done: int
    ) -> None:
        """Some chases of `rows` at once, as if of different inputs; `done` were there before."""
        some = []
        for run, chase in enumerate(chases, done):
            start = self._start(chase, budget, nearest) if run % self.restarts else chase.x
            some.append(replace(chase, candidate=start)[rows])
        pairs = torch.arange(len(rows) * len(chases), device=rows.device)
        joined = replace(_joined(some), rows=pairs)
        found = nearest[rows.repeat(len(chases))]
        self._run(view, joined, budget, found)
        for part in pairs.chunk(len(chases)):
            nearest.merge(rows, found[part])

    def _chases(self, view: View, x: Tensor, y: Tensor, draws: Draws) -> Iterator[_Chase]:
        """All inputs with each target, `restarts` times."""
        assert view.forward is not None, "needs = gradient"
        with torch.no_grad():
            likely = most_likely_wrong(view.forward(x, draws).logits, y, self.targets)
        rows, infinite = torch.arange(len(x), device=x.device), torch.full_like(x.flatten(1).sum(1), torch.inf)
        for number, target in enumerate(likely):
            for restart in range(self.restarts):
                mine = draws.stream(number * self.restarts + restart)
                yield _Chase(rows, x, torch.stack([y, target], 1), mine, x, Reach.of(infinite))

    def _start(self, chase: _Chase, budget: Budget, nearest: _Nearest) -> Tensor:
        """A random point at half epsilon, or at half the distance found where that is less."""
        noise = chase.draws.stream("start").normal(*chase.x.shape[1:]).to(chase.x)
        radius = nearest.distance.clamp(max=budget.epsilon) / 2
        scale = radius.nan_to_num(posinf=0.0) / _length(noise, budget.norm)
        return noise.mul_(per_input(scale, noise)).add_(chase.x).clamp_(0, 1)

    def _run(self, view: View, chase: _Chase, budget: Budget, nearest: _Nearest) -> None:
        """All steps to one target, noting what is nearer than before."""
        assert view.forward is not None, "needs = gradient"
        forward = expectation(view.forward, self.samples)
        for step in range(self.steps + 1):
            last = step == self.steps
            leaf = chase.candidate.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                outputs = forward(leaf, chase.draws.stream(step))
                value = _value(outputs, chase.labels)
            chase, going = self._judged(view, chase, outputs, budget, nearest, step)
            if last or not len(going):
                break
            plane = _Plane(value.detach(), ascent_direction(value, leaf), outputs.fooled(chase.labels[:, 0]))
            chase = replace(chase, candidate=self._moved(chase, plane, budget.norm))
            chase = chase if len(going) == len(chase.rows) else chase[going]

    def _judged(
        self, view: View, chase: _Chase, outputs: Outputs, budget: Budget, nearest: _Nearest, step: int
    ) -> tuple[_Chase, Tensor]:
        """The chase with what was found brought up to date, and the rows that go on."""
        success = outputs.fooled(chase.labels[:, 0])
        distance = torch.where(success, _length(chase.candidate - chase.x, budget.norm), torch.inf)
        nearest.offer(chase, distance)
        inside = (distance <= budget.epsilon).nonzero()[:, 0]
        if math.isfinite(budget.epsilon) and view.early_exit and len(inside):
            nearest.confirm(view, chase[inside], budget)
        reach = chase.reach.after(distance.log())
        leaving = nearest.broken[chase.rows]
        if self.give_up:
            goal = nearest.distance[chase.rows].clamp(max=budget.epsilon).log()
            leaving = leaving | reach.lost(step, self.steps, goal=goal)
        return replace(chase, reach=reach.marked(step)), (~leaving).nonzero()[:, 0]

    def _moved(self, chase: _Chase, plane: _Plane, norm: str) -> Tensor:
        """The next iterates (B, *S)."""
        x, candidate, normal = chase.x.flatten(1), chase.candidate.flatten(1), plane.gradient.flatten(1)
        base = torch.where(plane.success[:, None], torch.lerp(x, candidate, self.beta), candidate)
        level = torch.linalg.vecdot(normal, candidate) - plane.value
        both, twice = torch.cat([base, x]), torch.cat([normal, normal])
        change = to_plane(both, twice, level.repeat(2) - torch.linalg.vecdot(twice, both), norm)
        own, clean = _length(change, norm).clamp_min(1e-8).chunk(2)
        alpha = (own / (own + clean)).clamp(max=self.alpha_max)[:, None]
        one, two = both.add_(change, alpha=self.eta).chunk(2)
        return torch.lerp(one, two, alpha).clamp_(0, 1).view_as(chase.x)


def _length(offset: Tensor, norm: str) -> Tensor:
    """Length of each (B, *S) in the norm: (B,)."""
    length: Tensor = torch.linalg.vector_norm(offset.flatten(1), ord=ORDER[norm], dim=1)
    return length


def _value(outputs: Outputs, labels: Tensor) -> Tensor:
    """What must be raised to 0: the target's logit minus the label's, or minus the margin where that is lower: (B,)."""
    value = targeted_margin(outputs, labels)
    return value if outputs.margin is None else torch.minimum(value, -outputs.margin)


@dataclass(frozen=True)
class _Plane:
    """The value to be raised, linearised: itself (B,), its gradient (B, *S), and where the candidate is a success (B,)."""

    value: Tensor
    gradient: Tensor
    success: Tensor


@dataclass(frozen=True)
class _Chase:
    """The inputs in a run, `rows` of all, with label and target (B, 2); reach is of the logarithm of the distance."""

    rows: Tensor
    x: Tensor
    labels: Tensor
    draws: Draws
    candidate: Tensor
    reach: Reach

    def __getitem__(self, rows: Tensor) -> _Chase:
        return _Chase(**{name: value[rows] for name, value in vars(self).items()})


def _joined(chases: list[_Chase]) -> _Chase:
    """All inputs of some chases in one; the draws, of which a system that draws none makes no use, are the first's."""
    rows = torch.arange(len(chases[0].rows), device=chases[0].rows.device).repeat(len(chases))
    x, labels, candidate = (
        torch.cat([getattr(chase, name) for chase in chases]) for name in ("x", "labels", "candidate")
    )
    return _Chase(rows, x, labels, chases[0].draws[rows], candidate, chases[0].reach[rows])


@dataclass(frozen=True)
class _Nearest:
    """The nearest success of each input and its distance, infinite where there is none; broken: within epsilon, confirmed."""

    candidate: Tensor
    distance: Tensor
    broken: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Nearest:
        """Nothing found yet."""
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return cls(x.clone(), torch.full_like(nothing, torch.inf, dtype=x.dtype), nothing)

    def offer(self, chase: _Chase, distance: Tensor) -> None:
        """Take over the candidates that are nearer."""
        better = (distance < self.distance[chase.rows]).nonzero()[:, 0]
        self.candidate[chase.rows[better]] = chase.candidate[better]
        self.distance[chase.rows[better]] = distance[better]

    def __getitem__(self, rows: Tensor) -> _Nearest:
        return _Nearest(self.candidate[rows], self.distance[rows], self.broken[rows])

    def merge(self, rows: Tensor, found: _Nearest) -> None:
        """Take over what was found for some inputs where it is nearer, or the first that is broken."""
        better = ~self.broken[rows] & (found.broken | (found.distance < self.distance[rows]))
        chosen = rows[better]
        self.candidate[chosen], self.distance[chosen] = found.candidate[better], found.distance[better]
        self.broken[chosen] = found.broken[better]

    def confirm(self, view: View, chase: _Chase, budget: Budget) -> None:
        """Ask the harness about candidates within epsilon."""
        feasible, y = ball(chase.x, budget), chase.labels[:, 0]
        candidate = feasible.project(chase.candidate.clone())
        fooled = view.fooled(candidate, chase.x, y, budget.epsilon, chase.draws)
        self.candidate[chase.rows[fooled]] = candidate[fooled]
        self.broken[chase.rows[fooled]] = True
