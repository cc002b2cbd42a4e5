"""The search over the places of a patch: all of them for a while, the best to the end; and the steps taken in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks._ball import Feasible, per_input
from attacks._patch import Patch
from attacks._search import Best, Memory, Point, Search, Standing
from harness.types import Budget, Draws, View


@dataclass(frozen=True)
class Falling:
    """Step sizes that fall geometrically from the first to the last."""

    first: float
    last: float

    def __post_init__(self) -> None:
        if not (self.first > 0 and self.last > 0):
            raise ValueError(f"step sizes from {self.first} to {self.last} were given; expected numbers above 0")

    def __call__(self, step: int, steps: int) -> float:
        """The size of the step-th of `steps` steps."""
        return self.first * math.exp(math.log(self.last / self.first) * step / max(1, steps - 1))


@dataclass(frozen=True)
class SignAscent:
    """Signs of the gradient with momentum."""

    size: Falling
    steps: int
    momentum: float = 0.0

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        velocity = _velocity(point, feasible, memory, self.momentum)
        size = self.size(point.step, self.steps)
        return feasible.project(point.candidate.add_(feasible.direction(velocity), alpha=size))


@dataclass(frozen=True)
class NesterovAscent:
    """Signs with momentum; the gradient is taken where momentum alone would lead (Lin et al. 2020, eqs. 6 and 7).

    What the search sees are these points, projected; after the last step it sees where the steps have led. The gradient
    is divided by its mean size, as the authors' code does: by the sum, as their equation has it, both would all but coincide.
    """

    size: Falling
    steps: int
    momentum: float = 0.0

    def __call__(self, point: Point, feasible: Feasible, memory: Memory) -> Tensor:
        iterate = memory.get("iterate", point.candidate)
        velocity = _velocity(point, feasible, memory, self.momentum)
        size = self.size(point.step, self.steps)
        iterate = feasible.project(iterate + size * feasible.direction(velocity))
        memory["iterate"] = iterate
        if point.step + 1 == self.steps:
            return iterate
        ahead = self.momentum * self.size(point.step + 1, self.steps)
        return feasible.project(iterate + ahead * velocity)


def _velocity(point: Point, feasible: Feasible, memory: Memory, momentum: float) -> Tensor:
    """The gradient inside the patch over its mean size there, added to `momentum` times what was added up before."""
    assert isinstance(feasible, Patch), "a rule for patches"
    gradient = point.gradient * feasible.mask
    if not momentum:
        return gradient
    elements = feasible.mask.flatten(1).sum(1) * gradient.shape[1]
    mean = gradient.abs().flatten(1).sum(1) / elements
    gradient.div_(per_input(mean.clamp_min_(torch.finfo(gradient.dtype).tiny), gradient))
    if "velocity" in memory:
        gradient.add_(memory["velocity"], alpha=momentum)
    memory["velocity"] = gradient
    return gradient


@dataclass(frozen=True)
class Effort:
    """steps at the best `kept` places of each input, after together as many at all places; all that `restarts` times."""

    steps: int
    kept: int
    restarts: int

    def rounds(self, places: int) -> Iterator[tuple[int, int]]:
        """The number of places in each round, and the steps at each of them."""
        if places > self.kept:
            yield places, math.ceil(self.steps * self.kept / places)
        yield min(places, self.kept), self.steps


@dataclass(frozen=True)
class PatchSearch:
    """The search for the best patch over places, masks (P, 1, H, W); where the view allows it, of the survivors only.

    search: the search of a number of steps that a view and these make.
    """

    view: View
    search: Callable[[View, int], Search]
    masks: Tensor
    effort: Effort

    def run(self, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The best patched inputs, or those that fooled the system: (B, *S) -> (B, *S)."""
        best, rows = Best.of(x), torch.arange(len(x), device=x.device)
        for restart in range(self.effort.restarts):
            standing = rows[~best.broken] if self.view.early_exit else rows
            if not len(standing):
                break
            mine = draws[standing].stream(restart)
            found = self._once(x[standing], y[standing], budget, mine)
            best.put(standing, _foremost(_joined(best[standing], found), len(standing)))
        self.view.note("loss", rows, best.loss)
        return best.candidate

    def _once(self, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Best:
        """All rounds once: the best at each place, (P B) rows, the inputs of one place together."""
        places, inputs = len(self.masks), len(x)
        best, view = Best.of(x.repeat(places, 1, 1, 1)), replace(self.view, note=_silent)
        order = torch.arange(places, device=x.device)[:, None].expand(places, inputs)
        for turn, (kept, steps) in enumerate(self.effort.rounds(places)):
            search = self.search(view, steps)
            for slot in range(kept):
                rows = torch.arange(inputs, device=x.device)
                if view.early_exit:
                    rows = rows[~best.broken.view(places, inputs).any(0)]
                place = order[slot, rows]
                pairs, mine = place * inputs + rows, draws[rows].stream(f"{turn} {slot}")
                feasible = Patch(x[rows], budget.epsilon, self.masks[place])
                start = best.candidate[pairs] if turn else feasible.start(mine.stream("start"))
                search.run(Standing(pairs, y[rows], y[rows], feasible, mine, start, best[pairs]), best)
            order = _order(best, places)
        return best


def _order(best: Best, number: int) -> Tensor:
    """The `number` candidates of each input from the best on, broken before wrong before right, then by strength: (P, B)."""
    order = best.strength.view(number, -1).argsort(dim=0, descending=True, stable=True)
    for first in (best.wrong, best.broken):
        known = first.view(number, -1).gather(0, order).byte()
        order = order.gather(0, known.argsort(dim=0, descending=True, stable=True))
    return order


def _foremost(best: Best, inputs: int) -> Best:
    """The best candidate of each of the inputs, with the highest loss that any of them has seen."""
    places = len(best.strength) // inputs
    chosen = best[_order(best, places)[0] * inputs + torch.arange(inputs, device=best.strength.device)]
    return replace(chosen, loss=best.loss.view(places, inputs).amax(0))


def _joined(one: Best, other: Best) -> Best:
    return Best(**{name: torch.cat([value, getattr(other, name)]) for name, value in vars(one).items()})


def _silent(name: str, rows: Tensor, values: Tensor | str) -> None:
    """The rows of one place are none of the caller's."""
