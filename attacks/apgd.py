"""Projected gradient ascent whose step adapts to each input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attacks._adaptive_step import AdaptiveAscent, SparseAscent
from attacks._ball import ball
from attacks._loss import LOSSES, accepted, most_likely_wrong
from attacks._require import at_least_one
from attacks._samples import draws_of
from attacks._search import Best, Rule, Search, Standing, steepest
from attacks._start import first_start
from attacks._together import runs_at_once
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, View

WIDER = ((3.0, 0.3), (2.0, 0.3))  # l1: times epsilon, and the share of the steps taken there first


@dataclass(frozen=True)
class APGD:
    """Projected gradient ascent with momentum whose step is halved, input by input, where progress stops.

    The first step is 2 epsilon; after a halving the search goes on from the best point. In l1 steps change few elements,
    as many as the best point's change shows to be needed, and begin in wider balls. targets: number of targets, the
    `first_target`-th most likely wrong class and the next ones, searched one after the other (0: away from the label).
    With two or three classes `dlr` becomes the margin. weight: of the margin of a system that may reject; give_up: an
    input leaves a run in which success is out of reach; samples: draws a gradient is the mean of (None: 20 for a system
    that draws numbers, which one draw misleads, else 1).
    Source: Croce and Hein 2020, algorithm 1; l1: Croce and Hein 2021, algorithm 1.
    """

    steps: int = 100
    restarts: int = 1
    loss: Literal["cross_entropy", "rescaled_cross_entropy", "dlr", "margin"] = "cross_entropy"
    targets: int = 0
    first_target: int = 1
    weight: float = 1.0
    give_up: bool = False
    samples: int | None = None

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "restarts", "first_target", "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The best iterate of each input, or the one that fooled the system: (B, *S) -> (B, *S)."""
        best, rows = Best.of(x), torch.arange(len(x), device=x.device)
        everybody = Standing(rows, y, y, ball(x, budget), draws, x, best)
        runs, standing = list(enumerate(self._labels(view, x, y, draws))), rows
        while runs and len(standing):
            number = 1 if runs[0][0] == 0 else runs_at_once(view, len(standing), len(runs))
            self._together(view, runs[:number], everybody, standing, budget)
            runs, view = runs[number:], replace(view, start=None)
            standing = (~best.broken).nonzero()[:, 0] if view.early_exit else rows
        view.note("loss", rows, best.loss)
        return best.candidate

    def _together(
        self, view: View, runs: list[tuple[int, Tensor]], everybody: Standing, rows: Tensor, budget: Budget
    ) -> None:
        """Some runs of `rows` at once, each with its number and what its loss is given, as if of different inputs."""
        some, best = everybody[rows], everybody.best
        starts = [
            first_start(view, some.feasible, budget, some.draws.stream(run).stream("start"), otherwise=None)
            for run, _ in runs
        ]
        joined = replace(
            everybody[rows.repeat(len(runs))],
            rows=torch.arange(len(rows) * len(runs), device=rows.device),
            labels=torch.cat([labels[rows] for _, labels in runs]),
            candidate=torch.cat(starts),
        )
        found = joined.best[joined.rows]
        self._run(replace(view, note=_silent), replace(joined, draws=joined.draws.stream(runs[0][0])), budget, found)
        for part in joined.rows.chunk(len(runs)):
            best.put(rows, best[rows].merged(found[part]))

    def _labels(self, view: View, x: Tensor, y: Tensor, draws: Draws) -> Iterator[Tensor]:
        """What the loss of each run is given: the label, or the label and the next target; `restarts` times each."""
        goals = [y]
        if self.targets:
            assert view.forward is not None, "needs = gradient"
            last = self.first_target - 1 + self.targets
            with torch.no_grad():
                likely = most_likely_wrong(view.forward(x, draws).logits, y, last)
            goals = [torch.stack([y, target], 1) for target in likely[self.first_target - 1 :]]
        for goal in goals:
            for _ in range(self.restarts):
                yield goal

    def _run(self, view: View, standing: Standing, budget: Budget, best: Best) -> None:
        """All steps; in l1 the first ones are taken in wider balls, where nothing counts as found."""
        start, left = standing.candidate, self.steps
        if budget.norm == "l1":
            for factor, share in WIDER:
                steps = math.ceil(share * self.steps)
                left = left - steps
                start = self._wider(view, standing, start, replace(budget, epsilon=factor * budget.epsilon), steps)
            start = standing.feasible.project(start)
        if left:
            self._search(view, left, budget.norm).run(replace(standing, candidate=start), best)

    def _wider(self, view: View, standing: Standing, start: Tensor, budget: Budget, steps: int) -> Tensor:
        """The best point of a search from `start` in a ball that is not the budget's."""
        rows, feasible = torch.arange(len(start), device=start.device), ball(standing.feasible.x, budget)
        start = feasible.project(start.clone())
        found = Best.of(start)
        wide = replace(standing, rows=rows, feasible=feasible, candidate=start, best=found[rows])
        self._search(replace(view, early_exit=False, note=_silent), steps, budget.norm).run(wide, found)
        return found.candidate

    def _search(self, view: View, steps: int, norm: str) -> Search:
        assert view.forward is not None, "needs = gradient"
        loss = accepted(LOSSES[self.loss][bool(self.targets)], self.weight)
        rule: Rule = SparseAscent(steps) if norm == "l1" else AdaptiveAscent(steps)
        forward = expectation(view.forward, draws_of(view, self.samples))
        return Search(view, forward, steepest(loss), rule, steps, self.give_up)


def _silent(name: str, rows: Tensor, values: Tensor | str) -> None:
    """What a search would record of its own rows."""
