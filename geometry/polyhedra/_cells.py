"""The cells of a network as a result, and how a subdivision becomes one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geometry.polyhedra._complex import TOLERANCE, Floats, Indices, Mask
from geometry.polyhedra._subdivision import Subdivision, groups


@dataclass(frozen=True, eq=False)
class Cells:
    """N cells with interior points, of h units in d inputs; what is nearer to a boundary than `tolerance` counts as on it.

    patterns: (N, h) bits. points: (N, d), one inside each cell. vertices: one tensor (n, d) a cell, in two dimensions in
    the order of its boundary; empty tuple above three dimensions. bounded: (N,). neighbours: (E, 2), pairs that share a
    facet. complete: whether these are all cells. tolerance: relative, of |z| to |weights| |activations| of its unit.
    """

    patterns: Tensor
    points: Tensor
    vertices: tuple[Tensor, ...]
    bounded: Tensor
    neighbours: Tensor
    complete: bool
    tolerance: float

    def __len__(self) -> int:
        return len(self.patterns)


def merged_cells(subdivision: Subdivision) -> Cells:
    """The cells of a subdivision, pieces of one pattern taken together."""
    complex_ = subdivision.cells
    first, group = groups(subdivision.patterns)
    number = len(first)
    cell, vertex = complex_.corners()
    keys = np.unique(group[cell] * complex_.counts[0] + vertex)
    cell, vertex = np.divmod(keys, complex_.counts[0])
    finite = subdivision.weights[vertex] > 0
    points = _interior_points(subdivision.inputs, cell, vertex, finite=finite)
    pairs = np.sort(group[complex_.adjacent()], axis=1)
    pairs = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)
    real = finite & ~subdivision.artificial[vertex]
    return Cells(
        patterns=torch.from_numpy(subdivision.patterns[first]),
        points=torch.from_numpy(points),
        vertices=_vertices(subdivision.inputs, cell[real], vertex[real], around=points),
        bounded=torch.from_numpy(np.bincount(cell[~finite], minlength=number) == 0),
        neighbours=torch.from_numpy(pairs),
        complete=subdivision.complete,
        tolerance=TOLERANCE,
    )


def _interior_points(inputs: Floats, cell: Indices, vertex: Indices, *, finite: Mask) -> Floats:
    """The mean of each cell's vertices, moved along its directions if it has some: (cells, d), for pairs ordered by cell."""
    number = int(cell[-1]) + 1
    counted = np.bincount(cell[finite], minlength=number)
    share = np.where(finite, 1 / counted[cell], 1.0)
    starts = np.searchsorted(cell, np.arange(number))
    points: Floats = np.add.reduceat(inputs[vertex] * share[:, None], starts, axis=0)
    return points


def _vertices(inputs: Floats, cell: Indices, vertex: Indices, *, around: Floats) -> tuple[Tensor, ...]:
    """The points of each cell, for pairs ordered by cell; in two dimensions by angle."""
    d = inputs.shape[1]
    if d > 3:
        return ()
    if d == 2:
        offset = inputs[vertex] - around[cell]
        order = np.lexsort((np.arctan2(offset[:, 1], offset[:, 0]), cell))
        cell, vertex = cell[order], vertex[order]
    ends = np.searchsorted(cell, np.arange(1, len(around)))
    return tuple(torch.from_numpy(part) for part in np.split(inputs[vertex], ends))
