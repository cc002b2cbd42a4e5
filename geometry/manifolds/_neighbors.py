"""Distances between rows and nearest neighbours: by scikit-learn on the CPU, by products in blocks elsewhere."""

from __future__ import annotations

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

TOGETHER = 1 << 25  # distances that are held together on a GPU
ROUNDING = 1e-13  # squared distances below this share of the squared norms are 0


def nearest(points: Tensor, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (Q, number) of the points (N, D) nearest to each query (Q, D), the nearest first.

    A point that is itself a query is its own neighbour at distance 0. Distances are good to the rounding of the squared
    norms, so points are best centred. Raises ValueError unless 1 <= number <= N.
    """
    if not 1 <= number <= len(points):
        raise ValueError(
            f"{number} neighbours were asked for among {len(points)} points; ask for fewer or give more points"
        )
    if not len(queries):
        return queries.new_zeros(0, number), torch.zeros(0, number, dtype=torch.int64, device=queries.device)
    distances, indices = (
        _by_library(points, queries, number) if points.device.type == "cpu" else _by_products(points, queries, number)
    )
    norms = points.square().sum(1)
    small = distances.square() <= ROUNDING * (queries.square().sum(1, keepdim=True) + norms[indices])
    return torch.where(small, 0.0, distances), indices


def squared_distances(points: Tensor, queries: Tensor) -> Tensor:
    """Squared Euclidean distances (Q, N) of queries (Q, D) to points (N, D), differentiable; what is rounding is 0."""
    norms = queries.square().sum(1, keepdim=True) + points.square().sum(1)
    found = torch.addmm(norms, queries, points.T, alpha=-2)
    return torch.where(found > ROUNDING * norms.detach(), found, 0.0)


def _by_library(points: Tensor, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
    index = NearestNeighbors(n_neighbors=number).fit(points.detach().numpy())
    distances, indices = index.kneighbors(queries.detach().numpy())
    return torch.from_numpy(distances), torch.from_numpy(indices)


def _by_products(points: Tensor, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
    blocks = torch.split(queries, max(1, TOGETHER // len(points)))
    parts = [squared_distances(points, block).topk(number, dim=1, largest=False) for block in blocks]
    return torch.cat([part.values for part in parts]).sqrt(), torch.cat([part.indices for part in parts])


def require_neighbors(neighbors: int, number: int) -> None:
    """Raise ValueError unless there are at least two neighbours to each point, and more points than that."""
    if neighbors < 2:
        raise ValueError(f"neighbors must be at least 2, not {neighbors}")
    if number <= neighbors:
        raise ValueError(
            f"{number} points are fewer than neighbors + 1 = {neighbors + 1}; lower neighbors or give more points"
        )


def require_distinct(distances: Tensor) -> None:
    """Raise ValueError where all neighbours of a point are copies of it: distances (N, k), the nearest first."""
    copied = int((distances[:, -1] == 0).sum())
    if copied:
        raise ValueError(
            f"{copied} points have {distances.shape[1]} copies or more, themselves included, so that their "
            "neighbourhoods have no size; drop duplicate points or raise neighbors"
        )
