"""Detection by how much the answer changes when the input is made coarser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._images import sides
from defenses._median import median_filter
from harness.gradients import bpda
from harness.types import Network, Score, State


@dataclass(frozen=True)
class FeatureSqueezing:
    """Scores an image by the largest change of the softmax when it is squeezed to fewer grey levels or by median filters.

    The change is the l1 distance, in [0, 2]. bits: grey levels are 2^bits. medians: sides of the filters' windows, 2 or
    3 pixels. An attacker differentiates the identity in place of the rounding. Raises ValueError for inputs that are
    not (B, C, H, W). Source: Xu, Evans and Qi 2018, "Feature squeezing", section V (joint detection; without their
    non-local means).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    bits: int = 3
    medians: tuple[int, ...] = (2, 3)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise ValueError(f"feature_squeezing takes 1 to 16 bits, not {self.bits}")
        if not set(self.medians) <= {2, 3}:
            raise ValueError(f"feature_squeezing takes medians of 2 or 3 pixels, not {self.medians}")

    def load(self, state: State, *, victim: Network) -> Score:
        """The largest change, (B, C, H, W) -> (B,); nothing is fitted."""
        return _Squeezing(victim, 2**self.bits - 1, self.medians)


@dataclass(frozen=True)
class _Squeezing:
    """The image and its squeezed forms in one pass through the victim."""

    victim: Network
    steps: int
    medians: tuple[int, ...]

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._largest_change(x, self._rounded)

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same score with the gradient of the identity for the rounding."""
        return self._largest_change(x, bpda(self._rounded, lambda z: z))

    def _rounded(self, x: Tensor) -> Tensor:
        return (x * self.steps).round() / self.steps

    def _largest_change(self, x: Tensor, rounded: Callable[[Tensor], Tensor]) -> Tensor:
        sides(x, "feature_squeezing")
        forms = [x, rounded(x), *(median_filter(x, size) for size in self.medians)]
        softmax = self.victim(torch.cat(forms)).softmax(1).chunk(len(forms))
        return torch.stack([(squeezed - softmax[0]).abs().sum(1) for squeezed in softmax[1:]]).amax(0)
