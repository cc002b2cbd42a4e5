"""The penultimate layer of a victim, which several detectors read."""

from __future__ import annotations

import torch
from torch import Tensor

from defenses._craft import batches
from harness.types import Network, Split


def shows_features(victim: Network, part: str) -> Network:
    """The victim; raises TypeError unless it has the methods features and head."""
    if callable(getattr(victim, "features", None)) and callable(getattr(victim, "head", None)):
        return victim
    raise TypeError(
        f"{part} reads the penultimate layer, and {type(victim).__name__} lacks features(x) -> (B, F) or head(features) -> (B, K)"
    )


@torch.no_grad()
def embedded(victim: Network, data: Split) -> Tensor:
    """Features of all inputs: (N, F) float64."""
    return torch.cat([victim.features(batch.x).double() for batch in batches(data)])


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances (A, F), (B, F) -> (A, B), differentiable also where they are zero.

    Exact to the rounding of the squared lengths: both are best given relative to a centre of theirs.
    """
    return a.square().sum(1)[:, None] - 2 * a @ b.T + b.square().sum(1)
