"""Detection by the distance to clean features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from defenses._features import embedded, shows_features, squared_distances
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class NearestNeighbors:
    """Scores an input by the squared distance of its features to the `k`-th nearest of clean inputs, all of unit length.

    Features (B, F) are those of the penultimate layer; at most `references` fit inputs are kept, drawn at random. A k larger
    than a class has inputs measures to other classes. Raises TypeError for victims without `features`, ValueError where
    there are fewer than k inputs. Source: Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors",
    section 3 (k = 50 of CIFAR-10's 50,000 training inputs, the same share).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    k: int = 5
    references: int = 5000

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.references:
            raise ValueError(
                f"nearest_neighbors takes 1 <= k <= references, not k = {self.k} of {self.references} references"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """Features (R, F) of unit length."""
        if len(data) < self.k:
            raise ValueError(
                f"nearest_neighbors has {len(data)} fit inputs, but measures to the {self.k}-th; give a smaller k"
            )
        rows = torch.randperm(len(data))[: self.references].to(data.y.device)
        features = embedded(shows_features(victim, "nearest_neighbors"), data[rows])
        return {"features": normalize(features).float()}

    def load(self, state: State, *, victim: Network) -> Score:
        """The squared distance in [0, 4], (B, *S) -> (B,)."""
        return _Distance(shows_features(victim, "nearest_neighbors"), state["features"], self.k)


@dataclass(frozen=True, eq=False)
class _Distance:
    """The squared distance to the k-th nearest of stored features."""

    victim: Network
    features: Tensor
    k: int

    def __call__(self, x: Tensor, /) -> Tensor:
        distances = squared_distances(normalize(self.victim.features(x)), self.features.to(x))
        return distances.topk(self.k, dim=1, largest=False).values[:, -1]
