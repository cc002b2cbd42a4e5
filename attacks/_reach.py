"""Whether success is still within reach: an input may give up a run that leads nowhere, long before its last step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 16  # along gradients before anybody gives up
QUERIES = 512  # of a random search, before that
HOPE = 2.0  # times the last gain: what each doubling of the steps may still bring
SHARE = 0.2  # of all progress so far, that may come at once and late


@dataclass(frozen=True)
class Reach:
    """What each input lacks to success, (B,) each: at first, at half the steps so far and at least.

    Progress of a search is about concave in the logarithm of the steps. So an input is lost if HOPE times what the last
    doubling of the steps gained, for each doubling left, and SHARE of all progress together are less than what it lacks.
    Looked at when the number of steps is a power of two; each input for itself, whatever its companions.
    """

    first: Tensor
    half: Tensor
    least: Tensor

    @classmethod
    def of(cls, lack: Tensor) -> Reach:
        """Before the first step."""
        return cls(lack, lack, lack)

    def after(self, lack: Tensor) -> Reach:
        """With what is lacking after one more step."""
        return Reach(self.first, self.half, torch.fmin(self.least, lack))

    def lost(self, step: int, steps: int, *, earliest: int = STEPS, goal: Tensor | float = 0.0) -> Tensor:
        """After `step` of `steps`, the inputs that will not come down to `goal`: (B,) bool; none before `earliest`."""
        if step < earliest or not _power_of_two(step) or step >= steps:
            return torch.zeros_like(self.least, dtype=torch.bool)
        gain = (self.half - self.least).nan_to_num(nan=0.0)
        progress = (self.first - self.least).nan_to_num(nan=0.0, posinf=0.0)
        return self.least - goal > HOPE * math.log2(steps / step) * gain + SHARE * progress

    def marked(self, step: int) -> Reach:
        """After `lost`: at a power of two, what is lacking now is what later gains are measured from."""
        return Reach(self.first, self.least, self.least) if _power_of_two(step) else self

    def __getitem__(self, rows: Tensor) -> Reach:
        return Reach(self.first[rows], self.half[rows], self.least[rows])


def _power_of_two(step: int) -> bool:
    return step > 0 and step & (step - 1) == 0
