"""Whether success is still within reach: an input may give up a run that leads nowhere, long before its last step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

STEPS = 8  # along gradients before the first look
QUERIES = 512  # of a random search, before that
WARM_QUERIES = 64  # of one that begins where other attacks ended
HOPE = 1.5  # times the last gain: what each doubling of the steps may still bring
FLOOR = 0.1  # of all progress so far, that may come at once, however late
SURPASSED = 0.02  # of what is lacking, gained over other attacks: these were not at their optimum
STUCK = 8  # times the first look, by which something must have been gained over other attacks


@dataclass(frozen=True)
class Reach:
    """What each input lacks to success, (B,) each: at first, at half the steps so far and at least.

    Progress of a search is about concave in the logarithm of the steps, and comes in bursts that get rarer. So an input
    is lost if it lacks more than HOPE times what the last doubling of the steps gained, for each doubling left, and a
    share of all progress together: the whole at the first look, half of that at twice the steps, down to FLOOR. Looked
    at when the number of steps is a power of two; each input for itself, whatever its companions.
    begun: what other attacks left to be gained, where the search begins at their points. Who surpasses them clearly is
    never lost, since their gradients mislead; who has gained nothing over them in STUCK first looks is.
    """

    first: Tensor
    half: Tensor
    least: Tensor
    begun: Tensor | None = None

    @classmethod
    def of(cls, lack: Tensor, begun: Tensor | None = None) -> Reach:
        """Before the first step."""
        now = lack if begun is None else begun
        return cls(lack, now, now, begun)

    def after(self, lack: Tensor) -> Reach:
        """With what is lacking after one more step."""
        return replace(self, least=torch.fmin(self.least, lack))

    def lost(self, step: int, steps: int, *, earliest: int = STEPS, goal: Tensor | float = 0.0) -> Tensor:
        """After `step` of `steps`, the inputs that will not come down to `goal`: (B,) bool; none before `earliest`."""
        if step < earliest or not _power_of_two(step) or step >= steps:
            return torch.zeros_like(self.least, dtype=torch.bool)
        gain = (self.half - self.least).nan_to_num(nan=0.0)
        progress = (self.first - self.least).nan_to_num(nan=0.0, posinf=0.0)
        share = max(earliest / step, FLOOR)
        lost = self.least - goal > HOPE * math.log2(steps / step) * gain + share * progress
        if self.begun is None:
            return lost
        over = self.begun - self.least
        stuck = over <= 0 if step >= STUCK * earliest else torch.zeros_like(lost)
        return (lost & (over <= SURPASSED * self.least)) | stuck

    def marked(self, step: int) -> Reach:
        """After `lost`: at a power of two, what is lacking now is what later gains are measured from."""
        return replace(self, half=self.least) if _power_of_two(step) else self

    def __getitem__(self, rows: Tensor) -> Reach:
        begun = None if self.begun is None else self.begun[rows]
        return Reach(self.first[rows], self.half[rows], self.least[rows], begun)


def _power_of_two(step: int) -> bool:
    return step > 0 and step & (step - 1) == 0
