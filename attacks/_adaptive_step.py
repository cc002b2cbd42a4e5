"""Step rules that adapt to each input: where progress stops they take smaller steps, on from the best point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from attacks._ball import Feasible, L1Ball, per_input
from attacks._search import Memory, Point


@dataclass(frozen=True)
class AdaptiveAscent:
    """Ascent with momentum, first step 2 epsilon, halved at checkpoints (Croce and Hein 2020, algorithm 1).

    An input's step is halved where the loss rose in at most a share `rho` of the steps since the last checkpoint, or
    where neither step nor highest loss has changed since then.
    """

    steps: int
    rho: float = 0.75
    weight: float = 0.75  # of the new step; the rest is momentum

    @cached_property
    def windows(self) -> dict[int, int]:
        """Checkpoints, and the number of steps that each looks back on."""
        return checkpoints(self.steps)

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        x, gradient = point.candidate, point.gradient
        if not memory:
            memory["step"] = torch.full_like(point.loss, 2 * feasible.epsilon)
            memory["reduced"] = torch.ones_like(point.loss, dtype=torch.bool)
            memory["rises"] = torch.zeros_like(point.loss)
        _remember_best(point, memory)
        if point.step in self.windows:
            x, gradient = self._checked(x, gradient, memory, self.windows[point.step])
        step = per_input(memory["step"], x)
        moved = feasible.project(torch.addcmul(x, feasible.direction(gradient), step))
        if "previous" in memory:
            moved = x.lerp(moved, self.weight).add_(x - memory["previous"], alpha=1 - self.weight)
            moved = feasible.project(moved)
        memory["previous"] = x
        return moved

    def _checked(self, x: Tensor, gradient: Tensor, memory: Memory, window: int) -> tuple[Tensor, Tensor]:
        """From where to go on, with steps halved where progress stopped: point and gradient."""
        idle = ~memory["reduced"] & (memory["best_loss"] <= memory["checked_loss"])
        stopped = (memory["rises"] <= self.rho * window) | idle
        memory["step"] = torch.where(stopped, memory["step"] / 2, memory["step"])
        memory["reduced"], memory["checked_loss"] = stopped, memory["best_loss"]
        memory["rises"] = torch.zeros_like(memory["rises"])
        return _back_to_best(x, gradient, memory, stopped)


def checkpoints(steps: int) -> dict[int, int]:
    """The published checkpoints below `steps`, each with the length of the window before it.

    The first after .22 of the steps; every window is .03 shorter than the last, but at least .06.
    """
    found: dict[int, int] = {}
    before, share, window = 0, 0.22, 0.22
    while (place := math.ceil(share * steps - 1e-9)) < steps:
        if place > before:
            found[place] = place - before
        before, window = place, max(window - 0.03, 0.06)
        share += window
    return found


@dataclass(frozen=True)
class SparseAscent:
    """Ascent in l1 that changes few elements a step, first step epsilon (Croce and Hein 2021, algorithm 1).

    At every .04 of the steps the number of elements becomes that of the best point's change over 1.5; where this change
    has become sparser the step is epsilon again, elsewhere 1.5 times shorter, down to a tenth.
    """

    steps: int

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        assert isinstance(feasible, L1Ball), "a rule for l1"
        x, gradient = point.candidate, point.gradient
        if not memory:
            memory["step"] = torch.full_like(point.loss, feasible.epsilon)
            memory["changed"] = _changed(x, feasible)
            memory["number"] = memory["changed"] / 1.5
        _remember_best(point, memory)
        if point.step and point.step % max(int(0.04 * self.steps), 1) == 0:
            x, gradient = self._checked(x, gradient, feasible, memory)
        step = per_input(memory["step"], x)
        return feasible.project(torch.addcmul(x, feasible.direction(gradient, memory["number"]), step))

    def _checked(self, x: Tensor, gradient: Tensor, feasible: L1Ball, memory: Memory) -> tuple[Tensor, Tensor]:
        """From where to go on, with the number of elements and the step for the next while: point and gradient."""
        changed = _changed(memory["best"], feasible)
        sparser = changed < 0.95 * memory["changed"]
        most = feasible.epsilon
        memory["step"] = torch.where(sparser, most, memory["step"] / 1.5).clamp_(most / 10, most)
        memory["changed"], memory["number"] = changed, changed / 1.5
        return _back_to_best(x, gradient, memory, sparser)


def _changed(candidate: Tensor, feasible: L1Ball) -> Tensor:
    """Number of elements that differ from the input, as a float: (B,)."""
    return (candidate != feasible.x).flatten(1).sum(1).to(candidate.dtype)


def _remember_best(point: Point, memory: Memory) -> None:
    """Note the highest loss of each input with its point and gradient, and how often the loss rose."""
    loss = point.loss.nan_to_num(nan=-torch.inf)
    if "best" not in memory:
        memory["best"], memory["best_gradient"] = point.candidate, point.gradient
        memory["best_loss"] = memory["last_loss"] = memory["checked_loss"] = loss
        return
    if "rises" in memory:
        memory["rises"] = memory["rises"] + (loss > memory["last_loss"])
    higher = loss > memory["best_loss"]
    mask = per_input(higher, point.candidate)
    memory["best"] = torch.where(mask, point.candidate, memory["best"])
    memory["best_gradient"] = torch.where(mask, point.gradient, memory["best_gradient"])
    memory["best_loss"] = torch.where(higher, loss, memory["best_loss"])
    memory["last_loss"] = loss


def _back_to_best(x: Tensor, gradient: Tensor, memory: Memory, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Point and gradient, for `rows` (B,) bool those of the highest loss."""
    mask = per_input(rows, x)
    return torch.where(mask, memory["best"], x), torch.where(mask, memory["best_gradient"], gradient)
