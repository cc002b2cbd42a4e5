"""A known-broken purifier: a decoy in place of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.types import Network, Purify, State


@dataclass(frozen=True)
class ShuffledGradients:
    """Known broken: values pass as they are while gradients come back shuffled, which only looks robust.

    The gradient is finite and of the right length but belongs to other pixels. The identity differentiated in its place,
    or any attack without gradients, breaks it; finite differences give it away. Bundled to test attacks and flags.
    seed: of the permutation. Source: gradient masking by a backward pass that does not belong to the forward pass,
    Athalye et al. 2018, section 4.1, and Carlini et al. 2019, section 5.2 (checks against it).
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    seed: int = 0

    def load(self, state: State, *, victim: Network) -> Purify:
        """The identity (B, *S) -> (B, *S); nothing is fitted and the victim is not used."""
        return _Decoy(self.seed)


@dataclass(frozen=True)
class _Decoy:
    """The identity with a permuted gradient."""

    seed: int

    def __call__(self, x: Tensor, /) -> Tensor:
        shuffled: Tensor = _Shuffle.apply(x, _order(x[0].numel(), self.seed).to(x.device))
        return shuffled


class _Shuffle(torch.autograd.Function):
    """Forwards the values, backwards the values in another order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.order = order
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].flatten(1)[:, ctx.order].view_as(gradients[0]), None


@lru_cache(maxsize=8)
def _order(size: int, seed: int) -> Tensor:
    """A fixed permutation of so many places: (size,) int64."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
