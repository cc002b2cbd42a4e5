"""Detection by the distance to the nearest class in feature space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._features import embedded, shows_features, squared_distances
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class Mahalanobis:
    """Scores an input by the squared Mahalanobis distance of its features to the nearest class mean.

    Features (B, F) are those of the penultimate layer; every class has its mean and all share one covariance, which is
    drawn by `shrinkage` towards a multiple of the identity. Raises TypeError for victims without `features`, ValueError
    where the covariance is singular. Source: Lee et al. 2018, "A simple unified framework for detecting
    out-of-distribution samples and adversarial attacks", equations 1 and 2 (one layer, inputs as they are).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    shrinkage: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.shrinkage <= 1:
            raise ValueError(f"mahalanobis takes a shrinkage in [0, 1], not {self.shrinkage}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """Centre (F,), whitening (F, F) with W W^T the inverse covariance, whitened class means (K, F)."""
        features = embedded(shows_features(victim, "mahalanobis"), data)
        centre = features.mean(0)
        classes = torch.unique(data.y)
        means = torch.stack([features[data.y == label].mean(0) for label in classes])
        residual = features - means[torch.searchsorted(classes, data.y)]
        whitening = self._whitening(residual.T @ residual / len(residual))
        state = {"centre": centre, "whitening": whitening, "means": (means - centre) @ whitening}
        return {name: value.float() for name, value in state.items()}

    def _whitening(self, covariance: Tensor) -> Tensor:
        size = len(covariance)
        identity = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * covariance.trace() / size * identity
        lower, failed = torch.linalg.cholesky_ex(shrunk)
        if failed:
            raise ValueError(
                f"the covariance of {size} features is singular with shrinkage {self.shrinkage:g}; "
                "give a larger shrinkage, or a victim whose features vary"
            )
        inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
        return inverse.T

    def load(self, state: State, *, victim: Network) -> Score:
        """The smallest squared distance, (B, *S) -> (B,)."""
        return _Distance(shows_features(victim, "mahalanobis"), state["centre"], state["whitening"], state["means"])


@dataclass(frozen=True, eq=False)
class _Distance:
    """The squared distance of whitened features to the nearest whitened mean."""

    victim: Network
    centre: Tensor
    whitening: Tensor
    means: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        features = self.victim.features(x)
        whitened = (features - self.centre.to(features)) @ self.whitening.to(features)
        return squared_distances(whitened, self.means.to(features)).amin(1)
