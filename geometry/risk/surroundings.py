"""Points that fill the neighbourhood of a manifold: boxes of a grid, and tubes along the normals."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Protocol

import torch
from torch import Tensor


class Hypersurface(Protocol):
    """A manifold of one dimension less than the space around it; inputs are rows (B, D)."""

    @property
    def dim(self) -> int: ...

    def project(self, x: Tensor, /) -> Tensor: ...

    def tangent_basis(self, x: Tensor, /) -> Tensor: ...


def box_grid(low: Sequence[float], high: Sequence[float], *, spacing: float) -> Tensor:
    """Midpoints of the cells of a box, each side cut into equal cells of at most `spacing`: (N, D), float64.

    A mean over them is the midpoint rule. Raises ValueError for sides that are empty and for a spacing that is not positive.
    """
    sides = list(zip(low, high, strict=True))
    if not spacing > 0 or any(not a < b for a, b in sides):
        raise ValueError(f"low < high on every side and spacing > 0 are needed, not {low}, {high} and {spacing}")
    axes = []
    for a, b in sides:
        number = max(1, ceil((b - a) / spacing - 1e-9))  # a whole number of cells is not one more by rounding
        axes.append(a + (torch.arange(number, dtype=torch.float64) + 0.5) * ((b - a) / number))
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def unit_normals(manifold: Hypersurface, x: Tensor) -> Tensor:
    """A unit normal at the projection of each input: (B, D) -> (B, D).

    Raises ValueError where the manifold has not one dimension less than the inputs.
    """
    if manifold.dim != x.shape[1] - 1:
        raise ValueError(
            f"normals are searched on both sides of a hypersurface: dimension {x.shape[1] - 1} is needed among inputs of"
            f" {x.shape[1]} numbers, not {manifold.dim}; attack along the normal space instead (attacks/normal.py)"
        )
    basis = manifold.tangent_basis(x)
    normals: Tensor = torch.linalg.svd(basis, full_matrices=True).U[:, :, -1]
    return normals


def tube(manifold: Hypersurface, nodes: Tensor, *, radius: float, steps: int) -> Tensor:
    """Points at `steps` distances up to radius along both normals of nodes (N, D): (N (2 steps + 1), D), the nodes first."""
    distances = torch.arange(1, steps + 1, dtype=nodes.dtype, device=nodes.device) * (radius / steps)
    offsets = torch.cat([distances.new_zeros(1), distances, -distances])
    points = nodes + offsets[:, None, None] * unit_normals(manifold, nodes)
    return points.reshape(-1, nodes.shape[1])


def golden_lattice(number: int, *, low: float, high: float) -> Tensor:
    """Points (number, 2) spread evenly over a square along no axis, float64, one a row and turned by the golden ratio.

    A mean over them is a quadrature whose error for the area of a region falls nearly as 1 / number.
    """
    place = torch.arange(number, dtype=torch.float64)
    unit = torch.stack([(place + 0.5) / number, (place * ((5**0.5 - 1) / 2)).remainder(1.0)], dim=1)
    return low + (high - low) * unit
