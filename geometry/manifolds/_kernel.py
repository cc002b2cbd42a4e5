"""The Gaussian kernel of a diffusion map, of fixed or variable bandwidth, between any input and the data."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import torch
from torch import Tensor

from geometry.manifolds._neighbors import nearest, require_distinct, squared_distances

GAP = 0.5  # local scales that lie between an input on the manifold and its nearest point, for want of more points
ALL_PAIRS = 3000  # points up to which every pair has its weight


@dataclass(frozen=True, eq=False)
class Steps:
    """The chances (B, N) of a step from each row to each point, and distance and index (B,) of the nearest point."""

    chances: Tensor
    nearest: Tensor
    index: Tensor


@dataclass(frozen=True, eq=False)
class Kernel:
    """exp(-delta^2 / (2 bandwidth)) with delta^2 = d^2 / (rho(x) rho(y)), between inputs and points (N, D).

    rho(x) is the mean distance of x to its `neighbors` nearest points; a point is the first of its own, so that rho is
    continuous and the same for a point and for an equal input. With scales None the kernel is that of a fixed bandwidth:
    delta = d. Pairs further apart than the reach of both, reach (N,), have no weight; None: all pairs have. Weights are
    divided by density (N,) at the data's end.

    beyond_nearest: what the squared distance to the nearest point has beyond the gaps between points, (rho / 2)^2, is taken
    off all squared distances of an input: about those from the foot of its perpendicular remain. On the data's manifold
    this changes nothing. Else a far input steps to where the scales are widest, not to where the data are nearest.
    """

    points: Tensor
    bandwidth: float
    neighbors: int
    scales: Tensor | None
    reach: Tensor | None
    density: Tensor
    graph_neighbors: int
    beyond_nearest: bool

    def steps(self, x: Tensor) -> Steps:
        """Steps from rows x (B, D), differentiable where neighbours do not change."""
        squared, nearest_one, index = self._squared(x)
        exponent = squared / (2 * self.bandwidth)
        if self.scales is not None:
            exponent = exponent / (local_scale(squared, self.neighbors)[:, None] * self.scales)
        weight = -exponent - self.density.log()
        if self.reach is not None:
            apart = squared.detach().sqrt()
            own = _between(apart.topk(self.graph_neighbors + 1, dim=1, largest=False).values)
            weight = weight.masked_fill(apart > torch.maximum(own[:, None], self.reach), -torch.inf)
        return Steps(torch.softmax(weight, dim=1), nearest_one.detach().sqrt(), index)

    def scale(self, x: Tensor) -> Tensor:
        """rho (B,) at rows x (B, D)."""
        return local_scale(self._squared(x)[0], self.neighbors)

    def _squared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared distances (B, N) as the kernel counts them, and true one and index (B,) of the nearest point."""
        squared = squared_distances(self.points, x)
        nearest_one, index = squared.min(dim=1)
        if self.beyond_nearest and self.scales is not None:
            gap = (GAP * self.scales[index]).square()
            squared = squared - (nearest_one - gap).clamp(min=0)[:, None]
        return squared, nearest_one, index


def local_scale(squared: Tensor, neighbors: int) -> Tensor:
    """Mean distance (B,) to the nearest points, from squared distances (B, N)."""
    near = squared.topk(neighbors, dim=1, largest=False).values
    apart = near > 0
    return torch.where(apart, torch.where(apart, near, 1.0).sqrt(), 0.0).mean(1)


@dataclass(frozen=True, eq=False)
class Neighborhoods:
    """The nearest points of every point, itself first: distances and indices (N, k + 1)."""

    distances: Tensor
    indices: Tensor

    def scales(self, neighbors: int) -> Tensor:
        """Mean distance (N,) to the nearest points, itself among them."""
        return self.distances[:, :neighbors].mean(1)

    def reach(self) -> Tensor:
        """Radius (N,) between the last neighbour but one and the last, so that rounding does not decide what is inside."""
        return _between(self.distances)


def neighborhoods(points: Tensor, *, neighbors: int, graph_neighbors: int) -> Neighborhoods:
    """Nearest points for scales and graph; raises ValueError where all `neighbors` of a point are its copies."""
    distances, indices = nearest(points, points, max(neighbors, graph_neighbors) + 1)
    require_distinct(distances[:, :neighbors])
    return Neighborhoods(distances, indices)


def size_of_graph(number: int, *, neighbors: int, wanted: int | None) -> int:
    """Neighbours in the graph: as wanted, or log(N)^2 but at least twice those of the scale; never more than the others.

    Raises ValueError for fewer than neighbors.
    """
    if wanted is not None and not neighbors <= wanted < number:
        raise ValueError(
            f"graph_neighbors must lie between neighbors, {neighbors}, and the other points, {number - 1}, not {wanted}"
        )
    return wanted if wanted is not None else min(max(ceil(log(number) ** 2), 2 * neighbors), number - 1)


def _between(distances: Tensor) -> Tensor:
    return (distances[:, -1] + distances[:, -2]) / 2
