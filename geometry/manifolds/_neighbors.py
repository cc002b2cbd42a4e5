"""Nearest neighbours: by scikit-learn on the CPU, by products in blocks elsewhere."""

from __future__ import annotations

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

TOGETHER = 1 << 25  # distances that are held together on a GPU


def nearest(points: Tensor, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (Q, number) of the points (N, D) nearest to each query (Q, D), the nearest first.

    A point that is itself a query is its own neighbour. Distances are good to the rounding of the squared norms, so
    points are best centred. Raises ValueError unless 1 <= number <= N.
    """
    if not 1 <= number <= len(points):
        raise ValueError(
            f"{number} neighbours were asked for among {len(points)} points; ask for fewer or give more points"
        )
    if not len(queries):
        return queries.new_zeros(0, number), torch.zeros(0, number, dtype=torch.int64, device=queries.device)
    if points.device.type == "cpu":
        return _by_library(points, queries, number)
    size = max(1, TOGETHER // len(points))
    parts = [torch.cdist(block, points).topk(number, dim=1, largest=False) for block in torch.split(queries, size)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _by_library(points: Tensor, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
    index = NearestNeighbors(n_neighbors=number).fit(points.detach().numpy())
    distances, indices = index.kneighbors(queries.detach().numpy())
    return torch.from_numpy(distances), torch.from_numpy(indices)


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
