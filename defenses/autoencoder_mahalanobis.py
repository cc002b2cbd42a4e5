"""Detection by reconstruction and by how unusual the code is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._craft import batches
from defenses.autoencoder_error import squared_error
from harness.types import LatentManifold, Network, Score, Spec, Split, State


@dataclass(frozen=True)
class AutoencoderMahalanobis:
    """Scores an input by its reconstruction error plus `weight` times the Mahalanobis distance of its code from clean codes.

    Both are divided by their means on fit inputs. The covariance is drawn by `shrinkage` towards a multiple of the identity.
    model: any manifold with codes. Raises TypeError for others, ValueError where codes do not vary. Source: Denouden et al.
    2018, "Improving reconstruction autoencoder out-of-distribution detection with Mahalanobis distance" (whose
    weights are chosen on foreign inputs; here none are seen).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    model: Spec = Spec.of("manifold", "autoencoder", refinements=0)
    weight: float = 1.0
    shrinkage: float = 0.001

    def __post_init__(self) -> None:
        if self.weight < 0 or not 0 <= self.shrinkage <= 1:
            raise ValueError(
                "autoencoder_mahalanobis takes a weight of at least 0 and a shrinkage in [0, 1], "
                f"not {self.weight} and {self.shrinkage}"
            )

    def fit(self, data: Split, *, victim: Network, model: LatentManifold) -> State:
        """Centre (L,) of clean codes, whitening (L, L), and the means of error and distance."""
        with torch.no_grad():
            z = torch.cat([shows_codes(model).encode(batch.x).double() for batch in batches(data)])
            errors = [squared_error(batch.x, model.project(batch.x)) for batch in batches(data)]
        centered = z - z.mean(0)
        covariance = centered.T @ centered / len(z)
        identity = torch.eye(len(covariance)).to(covariance)
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * covariance.trace() / len(identity) * identity
        lower, failed = torch.linalg.cholesky_ex(shrunk)
        if failed:
            raise ValueError("clean codes do not vary in all directions; give a larger shrinkage or fewer dimensions")
        whitening = torch.linalg.solve_triangular(lower, identity, upper=False).T
        scale = torch.linalg.vector_norm(centered @ whitening, dim=1).mean()
        found = {"centre": z.mean(0), "whitening": whitening, "error": torch.cat(errors).mean(), "distance": scale}
        return {name: value.float() for name, value in found.items()}

    def load(self, state: State, *, victim: Network, model: LatentManifold) -> Score:
        """The sum of both, (B, *S) -> (B,)."""
        whitening = state["whitening"] * (self.weight / state["distance"])
        return _Both(shows_codes(model), state["centre"], whitening, float(state["error"]))


@dataclass(frozen=True, eq=False)
class _Both:
    """Error and distance, each in units of its mean on clean inputs."""

    model: LatentManifold
    centre: Tensor
    whitening: Tensor
    error: float

    def __call__(self, x: Tensor, /) -> Tensor:
        z = self.model.encode(x)
        unusual: Tensor = torch.linalg.vector_norm((z - self.centre.to(z)) @ self.whitening.to(z), dim=1)
        return squared_error(x, self.model.decode(z)) / self.error + unusual


def shows_codes(model: LatentManifold) -> LatentManifold:
    """The model; raises TypeError unless it encodes and decodes."""
    if callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None)):
        return model
    raise TypeError(
        f"autoencoder_mahalanobis reads codes, and {type(model).__name__} has none; give a model such as autoencoder or pca"
    )
