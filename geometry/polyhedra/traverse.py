"""All cells of a ReLU network, in a box or in the whole input space, with vertices and neighbours."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from geometry.polyhedra._box import Box, bounds
from geometry.polyhedra._cells import Cells, merged_cells
from geometry.polyhedra._complex import Floats
from geometry.polyhedra._network import dense_layers
from geometry.polyhedra._subdivision import Subdivision, box_complex, whole_space
from geometry.polyhedra._walk import walked_cells

MOST_CUT = 5  # dimensions in which cells are kept with all their faces; above, linear programs find the neighbours


def traverse(network: nn.Module, box: Box | None = None, *, max_cells: int = 200_000) -> Cells:
    """All cells with interior points of a plain ReLU network (d inputs, h hidden units), and which share a facet.

    Up to five dimensions the layers are cut into the box or the whole space by their vertices; above, cells are walked from
    facet to facet by linear programs (Liu et al. 2023, algorithm 1). Without a box only the rank of the first layer counts as
    dimensions. When there are more than max_cells, that many are returned and marked incomplete: `estimated_cells` says
    beforehand what to expect. Raises ValueError for a network that is no plain ReLU network, and for an empty box.
    """
    if max_cells < 1:
        raise ValueError(f"max_cells must be at least 1, not {max_cells}")
    *layers, output = dense_layers(network)
    d = int((layers or [output])[0][0].shape[1])
    layers = layers or [(np.empty((0, d)), np.empty(0))]
    if box is not None:
        lower, upper = bounds(box, d)
        if d > MOST_CUT:
            return walked_cells(layers, box=(lower, upper), max_cells=max_cells)
        subdivision = Subdivision(box_complex(lower, upper), frame=np.eye(d), origin=np.zeros(d), max_cells=max_cells)
        subdivision.cut(layers)
        return merged_cells(subdivision)
    basis = _row_space(layers[0][0])
    reduced = [(layers[0][0] @ basis.T, layers[0][1]), *layers[1:]]
    if len(basis) > MOST_CUT:
        return _lifted(walked_cells(reduced, box=None, max_cells=max_cells), basis)
    complex_, directions = whole_space(len(basis))
    origin = np.random.default_rng(1).uniform(-1, 1, len(basis))  # on no unit's plane
    subdivision = Subdivision(complex_, frame=directions, origin=origin, max_cells=max_cells)
    subdivision.cut(reduced)
    return _lifted(merged_cells(subdivision), basis)


def estimated_cells(inputs: int, units: int) -> int:
    """How many cells to expect in the whole space: sum over i <= inputs of C(units, i).

    Exact for one layer in general position (Zaslavsky 1975); the order of magnitude at any depth (Hanin and Rolnick 2019).
    """
    return sum(math.comb(units, i) for i in range(min(inputs, units) + 1))


def _row_space(weight: Floats) -> Floats:
    """Orthonormal rows (k, d) that span the rows of the first layer, at least one: nothing changes across them."""
    d = weight.shape[1]
    if not weight.any():
        return np.eye(1, d)
    _, values, right = np.linalg.svd(weight, full_matrices=False)
    rank = int((values > values[0] * max(weight.shape) * np.finfo(np.float64).eps).sum())
    return np.eye(d) if rank == d else right[:rank]


def _lifted(cells: Cells, basis: Floats) -> Cells:
    """Cells of the reduced space in the input space, where they have neither vertices nor bounds if dimensions were left out."""
    k, d = basis.shape
    if k == d:
        return cells
    none: tuple[Tensor, ...] = tuple(torch.empty(0, d, dtype=torch.float64) for _ in cells.vertices)
    points = cells.points @ torch.from_numpy(basis)
    return replace(cells, points=points, vertices=none, bounded=torch.zeros_like(cells.bounded))
