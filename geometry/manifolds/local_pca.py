"""Planes through neighbourhoods: the principal components of an input's nearest data points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.manifolds._dimension import likeliest_dimension, require_dimension
from geometry.manifolds._neighbors import nearest, require_distinct, require_neighbors
from geometry.manifolds._rows import Data, State, lengths, like, points, rows, shape_tensor

TOGETHER = 1 << 24  # numbers of the neighbourhoods that are held together


@dataclass(frozen=True)
class LocalPCA:
    """Principal components of the `neighbors` data points nearest to an input; dim is estimated where it is None.

    The tangent estimate that Mahler et al. 2024 compare with (section 2.2): exact on clean data, misled by noise as wide
    as the neighbourhoods.
    """

    neighbors: int = 20
    dim: int | None = None

    def fit(self, data: Data) -> State:
        """The points, and the dimension of greatest likelihood where none is given.

        Raises ValueError for no more points than neighbors, for points with that many copies, for numbers that are not
        finite, and for a dim larger than neighbors - 1 or than the number of features.
        """
        given = points(data)
        require_neighbors(self.neighbors, len(given))
        center = given.mean(0)
        distances, _ = nearest(given - center, given - center, self.neighbors + 1)
        require_distinct(distances)
        most = min(self.neighbors - 1, given.shape[1])
        estimate = min(max(round(likeliest_dimension(distances[:, 1:])), 1), most)
        dim = estimate if self.dim is None else self.dim
        reason = f"{self.neighbors} neighbours among {given.shape[1]} features span no more"
        require_dimension(dim, most, reason)
        return {"points": given, "dim": torch.tensor(dim), "shape": shape_tensor(data.x)}

    def load(self, state: State) -> LocalPlanes:
        """The fitted manifold."""
        given = state["points"]
        shape = tuple(state["shape"].tolist())
        return LocalPlanes(given - given.mean(0), given.mean(0), shape, int(state["dim"]), self.neighbors)


@dataclass(frozen=True, eq=False)
class LocalPlanes:
    """At each input the plane of the given dimension through its nearest points.

    Projecting twice moves a point by about the square of the neighbourhood's size over the radius of curvature.
    """

    points: Tensor
    center: Tensor
    shape: tuple[int, ...]
    dim: int
    neighbors: int

    def project(self, x: Tensor, /) -> Tensor:
        """The nearest point of the input's plane: (B, *S) -> (B, *S), differentiable with the plane held still.

        Raises ValueError for another shape than that of the data and for numbers that are not finite.
        """
        return like(self._projected(self._given(x)) + self.center.to(x.device), x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the input's plane: (B, *S) -> (B,); raises as `project` does."""
        given = self._given(x)
        return lengths(given - self._projected(given), x)

    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """Orthonormal directions of the input's plane: (B, *S) -> (B, D, d); raises as `project` does."""
        return self._planes(self._given(x))[1].to(x.dtype)

    def _given(self, x: Tensor) -> Tensor:
        return rows(x, self.shape, dtype=torch.float64) - self.center.to(x.device)

    def _projected(self, given: Tensor) -> Tensor:
        middle, basis = self._planes(given)
        along = (given - middle)[:, None, :] @ basis
        return middle + (along @ basis.transpose(1, 2))[:, 0]

    @torch.no_grad()
    def _planes(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Means (B, D) and directions (B, D, d) of the neighbourhoods."""
        known = self.points.to(given.device)
        _, indices = nearest(known, given, self.neighbors)
        size = max(1, TOGETHER // (self.neighbors * known.shape[1]))
        middles, bases = [], []
        for block in torch.split(indices, size):
            middle = known[block].mean(1)
            right = torch.linalg.svd(known[block] - middle[:, None], full_matrices=False).Vh
            middles.append(middle)
            bases.append(right[:, : self.dim].transpose(1, 2))
        return torch.cat(middles), torch.cat(bases)
