"""A patch of one grey, the control of attacks that choose what a patch shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._patch import Places
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class GreyPatch:
    """A square of one value at the first place where it fools the system, else at the last.

    The places are those of `patch_pgd`; what this breaks, covering breaks. value: of all channels, from 0 to 1. Raises
    ValueError if the patch is larger than the image.
    """

    value: float = 0.5
    positions: int = 16

    norms: ClassVar[tuple[str, ...]] = ("patch",)
    needs: ClassVar[Needs] = "decision"
    minimal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ValueError(f"grey_patch was given value = {self.value}; expected 0 (black) to 1 (white)")
        Places(positions=self.positions)

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """Inputs with a grey square: (B, C, H, W) -> (B, C, H, W)."""
        covered = x.clone()
        standing = torch.arange(len(x), device=x.device)
        for place, mask in enumerate(Places(positions=self.positions).masks(x, budget.epsilon)):
            mine = draws[standing].stream(place)
            candidate = torch.where(mask, self.value, x[standing])
            covered[standing] = candidate
            fooled = view.fooled(candidate, x[standing], y[standing], budget.epsilon, mine)
            standing = standing[~fooled]
            if not len(standing):
                break
        return covered
