"""The projected first-order search, with four choices: the direction, the forward pass, the step rule, the feasible set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from attacks._ball import Feasible, per_input
from attacks._loss import Loss, lack, margin
from attacks._reach import Reach
from harness.types import Draws, Outputs, View

Forward = Callable[[Tensor, Draws], Outputs]
Memory = dict[str, Tensor]
Direction = Callable[[Outputs, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Point:
    """Where the search stands before a step: the iterates (B, *S), their loss (B,), the direction wanted (B, *S)."""

    candidate: Tensor
    loss: Tensor
    gradient: Tensor
    step: int


class Rule(Protocol):
    """A step rule; what it must remember of each input stands in `memory` as tensors (B, ...)."""

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        """The next iterate; may overwrite the tensors of `point`."""
        ...


@dataclass(frozen=True)
class Ascent:
    """Steps of `size` (a share of epsilon) along the steepest ascent, with momentum (Dong et al. 2018, eq. 6)."""

    size: float
    momentum: float = 0.0

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        gradient = point.gradient
        if self.momentum:
            length = gradient.abs().flatten(1).sum(1).clamp_min_(torch.finfo(gradient.dtype).tiny)
            gradient = gradient / per_input(length, gradient)
            if "velocity" in memory:
                gradient.add_(memory["velocity"], alpha=self.momentum)
            memory["velocity"] = gradient
        return feasible.project(point.candidate.add_(feasible.direction(gradient), alpha=self.size * feasible.epsilon))


def ascent_direction(loss: Tensor, x: Tensor, *, again: bool = False) -> Tensor:
    """Gradient of the summed loss (B,) by the input alone; what is not finite, cannot be taken or is independent of x is zero.

    again: another gradient of the same pass will be asked for.
    """
    if not loss.requires_grad:
        return torch.zeros_like(x)
    try:
        (gradient,) = torch.autograd.grad(loss.sum(), x, retain_graph=again, allow_unused=True, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # a defense may cut its own graph; the probe says so, and other estimators take over
        return torch.zeros_like(x)
    return gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)


def steepest(loss: Loss) -> Direction:
    """The gradient of one loss: (outputs, labels, x) -> loss (B,) and direction (B, *S)."""

    def call(outputs: Outputs, labels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            value = loss(outputs, labels)
        return value.detach(), ascent_direction(value, x)

    return call


@dataclass(frozen=True)
class Best:
    """The best candidate of each input so far: wrong before right, then by strength; and the highest loss (B,) seen."""

    candidate: Tensor
    wrong: Tensor
    strength: Tensor
    broken: Tensor
    loss: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Best:
        """Nothing found yet: the inputs themselves, not written to."""
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        lowest = torch.full_like(nothing, -torch.inf, dtype=x.dtype)
        return cls(x.clone(), nothing, lowest, nothing.clone(), lowest.clone())

    def offered(self, candidate: Tensor, outputs: Outputs, y: Tensor) -> Best:
        """With a candidate that is better taken over.

        Strength is the margin of the classes; for systems that may reject, among the wrong ones, minus their margin.
        """
        wrong = outputs.logits.argmax(1) != y
        strength = margin(outputs, y).nan_to_num(nan=torch.inf)
        if outputs.margin is not None:
            strength = torch.where(wrong, -outputs.margin, strength)
        better = (wrong & ~self.wrong) | ((wrong == self.wrong) & (strength >= self.strength))
        return Best(
            torch.where(per_input(better, candidate), candidate, self.candidate),
            wrong | self.wrong,
            torch.where(better, strength, self.strength),
            self.broken,
            self.loss,
        )

    def merged(self, other: Best) -> Best:
        """Of two for the same inputs, the better for each: broken, then wrong, then stronger; this one if it is broken."""
        stronger = (other.wrong & ~self.wrong) | ((other.wrong == self.wrong) & (other.strength >= self.strength))
        better = ~self.broken & (other.broken | stronger)
        return Best(
            torch.where(per_input(better, self.candidate), other.candidate, self.candidate),
            self.wrong | other.wrong,
            torch.where(better, other.strength, self.strength),
            self.broken | other.broken,
            torch.fmax(self.loss, other.loss),
        )

    def __getitem__(self, rows: Tensor) -> Best:
        return Best(self.candidate[rows], self.wrong[rows], self.strength[rows], self.broken[rows], self.loss[rows])

    def put(self, rows: Tensor, found: Best) -> None:
        """Write what was found for some of the inputs."""
        self.candidate[rows] = found.candidate
        self.wrong[rows] = found.wrong
        self.strength[rows] = found.strength
        self.broken[rows] = found.broken
        self.loss[rows] = found.loss


@dataclass(frozen=True)
class Standing:
    """The inputs still in the search, `rows` of all; labels are what the loss is given."""

    rows: Tensor
    y: Tensor
    labels: Tensor
    feasible: Feasible
    draws: Draws
    candidate: Tensor
    best: Best
    memory: Memory = field(default_factory=dict)
    reach: Reach | None = None

    def __getitem__(self, rows: Tensor) -> Standing:
        return Standing(
            self.rows[rows],
            self.y[rows],
            self.labels[rows],
            self.feasible[rows],
            self.draws[rows],
            self.candidate[rows],
            self.best[rows],
            {name: value[rows] for name, value in self.memory.items()},
            None if self.reach is None else self.reach[rows],
        )


@dataclass(frozen=True)
class Search:
    """The loop; where the view allows early exit, an input leaves once the harness confirms that it is fooled.

    give_up: there it also leaves once success is out of reach (attacks._reach).
    """

    view: View
    forward: Forward
    direction: Direction
    rule: Rule
    steps: int
    give_up: bool = False

    def run(self, standing: Standing, best: Best) -> None:
        """Take all steps from `standing.candidate`, the last iterate tested too, and write what was found to `best`."""
        everybody, standing = standing.rows, replace(standing, memory=dict(standing.memory), reach=None)
        for step in range(self.steps + 1):
            last = step == self.steps
            x = standing.candidate.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                outputs = self.forward(x, standing.draws.stream(step))
            numbers = _detached(outputs)
            standing, keep = self._judged(standing, numbers, step)
            last = last or (keep is not None and not len(keep))
            loss, gradient = self.direction(numbers if last else outputs, standing.labels, x)
            torch.fmax(standing.best.loss, loss, out=standing.best.loss)
            if last:
                break
            point = Point(standing.candidate, loss, gradient, step)
            candidate = self.rule(point, standing.feasible, standing.memory)
            standing = replace(standing, candidate=candidate)
            if keep is not None:
                best.put(standing.rows, standing.best)
                standing = standing[keep]
        best.put(standing.rows, standing.best)
        self.view.note("loss", everybody, best.loss[everybody])

    def _judged(self, standing: Standing, outputs: Outputs, step: int) -> tuple[Standing, Tensor | None]:
        """The best brought up to date, and the rows that stay in the search; None if nobody leaves it."""
        standing = replace(standing, best=standing.best.offered(standing.candidate, outputs, standing.y))
        if not self.view.early_exit:
            return standing, None
        standing, leaving = self._hopeless(standing, outputs, step)
        rows = outputs.fooled(standing.y).nonzero()[:, 0]
        if len(rows):
            suspects = standing[rows]
            centers, epsilon = suspects.feasible.x, suspects.feasible.epsilon
            rows = rows[self.view.fooled(suspects.candidate, centers, suspects.y, epsilon, suspects.draws)]
            standing.best.candidate[rows] = standing.candidate[rows]
            standing.best.broken[rows] = True
        gone = standing.best.broken if leaving is None else standing.best.broken | leaving
        return standing, (~gone).nonzero()[:, 0] if len(rows) or leaving is not None else None

    def _hopeless(self, standing: Standing, outputs: Outputs, step: int) -> tuple[Standing, Tensor | None]:
        """What is known of each input's progress brought up to date, and those out of reach; None if nobody gives up."""
        if not self.give_up:
            return standing, None
        missing = lack(outputs, standing.y)
        reach = Reach.of(missing) if standing.reach is None else standing.reach.after(missing)
        lost = reach.lost(step, self.steps)
        return replace(standing, reach=reach.marked(step)), lost if bool(lost.any()) else None


def _detached(outputs: Outputs) -> Outputs:
    """The same numbers, outside the graph."""
    return Outputs(outputs.logits.detach(), None if outputs.margin is None else outputs.margin.detach())
