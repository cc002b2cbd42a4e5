"""The affine subspace of greatest variance."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from geometry.manifolds._dimension import require_dimension
from geometry.manifolds._rows import Data, State, lengths, like, points, rows, shape_tensor


@dataclass(frozen=True)
class PCA:
    """Principal components about the mean, `dim` of them, or as many as explain the share `explained` of the variance."""

    dim: int | None = None
    explained: float = 0.95

    def fit(self, data: Data) -> State:
        """The mean and the components in float64, with the variance along each.

        Raises ValueError for one point, for points that are all the same, for numbers that are not finite, and for a
        dim larger than the span of the points.
        """
        if not 0 < self.explained <= 1:
            raise ValueError(f"explained must be a share between 0 and 1, not {self.explained}")
        given = points(data)
        mean = given.mean(0)
        variances, components = _components(given - mean)
        dim = self.dim if self.dim is not None else _enough(variances, self.explained)
        require_dimension(dim, len(variances), f"{len(given)} points span {len(variances)} dimensions about their mean")
        return {
            "mean": mean,
            "components": components[:, :dim].contiguous(),
            "variances": variances[:dim].contiguous(),
            "shape": shape_tensor(data.x),
        }

    def load(self, state: State) -> AffineSubspace:
        """The fitted subspace."""
        return AffineSubspace(state["mean"], state["components"], tuple(state["shape"].tolist()))


@dataclass(frozen=True, eq=False)
class AffineSubspace:
    """The points mean (D,) + components (D, d) z, among inputs of a shape S with D numbers."""

    mean: Tensor
    components: Tensor
    shape: tuple[int, ...]

    @property
    def dim(self) -> int:
        return self.components.shape[1]

    def encode(self, x: Tensor, /) -> Tensor:
        """Coordinates along the components: (B, *S) -> (B, d). Raises ValueError for other shapes, for nan and infinity."""
        given = rows(x, self.shape)
        return ((given - self.mean.to(given)) @ self.components.to(given)).to(x.dtype)

    def decode(self, z: Tensor, /) -> Tensor:
        """The points with these coordinates: (B, d) -> (B, *S)."""
        return (self.mean.to(z) + z @ self.components.to(z).T).reshape(len(z), *self.shape)

    def project(self, x: Tensor, /) -> Tensor:
        """The nearest point of the subspace: (B, *S) -> (B, *S); raises as `encode` does."""
        given = rows(x, self.shape)
        mean, components = self.mean.to(given), self.components.to(given)
        return like(mean + ((given - mean) @ components) @ components.T, x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the subspace: (B, *S) -> (B,); raises as `encode` does."""
        given = rows(x, self.shape)
        offset, components = given - self.mean.to(given), self.components.to(given)
        return lengths(offset - (offset @ components) @ components.T, x)

    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """The components, the same at every input: (B, *S) -> (B, D, d)."""
        given = rows(x, self.shape)
        return self.components.to(x).expand(len(given), prod(self.shape), self.dim)


def _components(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (r,) and directions (D, r) of the r dimensions that the rows span, the greatest first.

    From the smaller of covariance and Gram matrix: directions with less than 1e-13 of the greatest variance are noise of it.
    """
    number, features = offsets.shape
    wide = features > number
    values, vectors = torch.linalg.eigh(offsets @ offsets.T if wide else offsets.T @ offsets)
    values, vectors = values.flip(0), vectors.flip(1)
    kept = (values > max(float(values[0]), 0.0) * 1e-13) & (
        torch.arange(len(values), device=values.device) < number - 1
    )
    if not bool(kept.any()):
        raise ValueError(f"all {number} points are the same; points that differ are needed")
    values, vectors = values[kept], vectors[:, kept]
    directions = torch.linalg.qr(offsets.T @ vectors).Q if wide else vectors
    return values / (number - 1), directions


def _enough(variances: Tensor, share: float) -> int:
    """The least number of components that explain a share of the variance, up to rounding."""
    explained = variances.cumsum(0) / variances.sum()
    return int((explained < share * (1 - 1e-12)).sum()) + 1
