"""Projected gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import ball
from attacks._loss import accepted, cross_entropy, most_likely_wrong, towards
from attacks._require import at_least_one
from attacks._search import Ascent, Best, Search, Standing, steepest
from attacks._start import first_start
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent of cross-entropy from a random point of the ball.

    step_size is a share of epsilon (None: 2.5 / steps). targeted: number of targets, the most likely wrong classes,
    searched one after the other (0: away from the label). weight: of the margin of a system that may reject; samples:
    draws a gradient is the mean of. Source: Madry et al. 2018, section 2.1; momentum: Dong et al. 2018.
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    momentum: float = 0.0
    targeted: int = 0
    weight: float = 1.0
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "restarts", "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The best iterate of each input, or the one that fooled the system: (B, *S) -> (B, *S)."""
        assert view.forward is not None, "needs = gradient"
        forward = expectation(view.forward, self.samples)
        loss = accepted(towards(cross_entropy) if self.targeted else cross_entropy, self.weight)
        size = 2.5 / self.steps if self.step_size is None else self.step_size
        search = Search(view, forward, steepest(loss), Ascent(size, self.momentum), self.steps)
        feasible, best, rows = ball(x, budget), Best.of(x), torch.arange(len(x), device=x.device)
        for run, labels in enumerate(self._labels(view, x, y, draws)):
            mine = draws.stream(run)
            sight, otherwise = view if run == 0 else replace(view, start=None), None if self.random_start else x
            start = first_start(sight, feasible, budget, mine.stream("start"), otherwise=otherwise)
            everybody = Standing(rows, y, labels, feasible, mine, start, best)
            standing = (~best.broken).nonzero()[:, 0] if run and view.early_exit else rows
            search.run(everybody[standing], best)
        return best.candidate

    def _labels(self, view: View, x: Tensor, y: Tensor, draws: Draws) -> Iterator[Tensor]:
        """What each run is given: the label or the next target, `restarts` times each."""
        goals = y[None]
        if self.targeted:
            assert view.forward is not None, "needs = gradient"
            with torch.no_grad():
                goals = most_likely_wrong(view.forward(x, draws).logits, y, self.targeted)
        for goal in goals:
            for _ in range(self.restarts):
                yield goal
