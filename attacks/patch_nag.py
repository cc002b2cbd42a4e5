"""Nesterov's accelerated gradient in a patch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from attacks._loss import LOSSES, accepted
from attacks._patch import Places
from attacks._patch_search import Effort, Falling, NesterovAscent, PatchSearch
from attacks._require import at_least_one
from attacks._search import Search, steepest
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class PatchNAG:
    """Ascent by Nesterov's accelerated gradient in a rectangle of the image, where any value in the box is allowed.

    As `patch_pgd`, whose parameters it has, but the gradient is taken one step of momentum ahead; with momentum 0 they
    are the same. Raises ValueError if the patch is larger than the image or the budget. Source: Lin et al. 2020,
    equations 6 and 7, with momentum 1 and constant steps; as a patch: Tu et al. 2023, section 4, with steps of 1/255.
    """

    steps: int = 40
    step_size: float = 1.0
    last_step_size: float = 0.02
    momentum: float = 0.5
    restarts: int = 1
    height: int | None = None
    width: int | None = None
    row: int | None = None
    column: int | None = None
    positions: int = 16
    kept: int = 4
    mask: Path | None = None
    loss: Literal["cross_entropy", "rescaled_cross_entropy", "dlr", "margin"] = "cross_entropy"
    weight: float = 1.0
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("patch",)
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "restarts", "kept", "samples")
        self._places()
        self._sizes()

    def _places(self) -> Places:
        return Places(self.height, self.width, self.row, self.column, self.positions, self.mask)

    def _sizes(self) -> Falling:
        return Falling(self.step_size, self.last_step_size)

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The best patched inputs, or those that fooled the system: (B, C, H, W) -> (B, C, H, W)."""
        masks = self._places().masks(x, budget.epsilon)
        effort = Effort(self.steps, self.kept, self.restarts)
        return PatchSearch(view, self._search, masks, effort).run(x, y, budget, draws)

    def _search(self, view: View, steps: int) -> Search:
        assert view.forward is not None, "needs = gradient"
        direction = steepest(accepted(LOSSES[self.loss][0], self.weight))
        rule = NesterovAscent(self._sizes(), steps, self.momentum)
        return Search(view, expectation(view.forward, self.samples), direction, rule, steps)
