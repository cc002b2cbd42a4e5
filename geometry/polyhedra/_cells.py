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
    facet. complete: whether these are all cells. tolerance: relative, of |z| to
    |weights| |activations| of its unit; where linear programs were solved, how far cells must reach beyond a facet.
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


def merged_cells(subdivision: Subdivision, patterns: Mask | None = None) -> Cells:
    """The cells of a subdivision, pieces of one pattern (its own, unless others are given) taken together."""
    complex_ = subdivision.cells
    patterns = subdivision.patterns if patterns is None else patterns
    first, group = groups(patterns)
    cell, vertex = _grouped(complex_.corners(), group, complex_.counts[0])
    finite = subdivision.weights[vertex] > 0
    points = _interior_points(subdivision.inputs, cell, vertex, finite=finite)
    bounded = np.bincount(cell[~finite], minlength=len(first)) == 0
    pairs, facet = complex_.adjacent()
    pairs = np.sort(group[pairs], axis=1)
    inner = pairs[:, 0] == pairs[:, 1]
    if inner.any():  # what lies between pieces of one cell bounds nothing
        outer = np.ones(complex_.counts[-2], np.bool_)
        outer[facet[inner]] = False
        cell, vertex = _grouped(complex_.corners(outer), group, complex_.counts[0])
    real = (subdivision.weights[vertex] > 0) & ~subdivision.artificial[vertex]
    return Cells(
        patterns=torch.from_numpy(patterns[first]),
        points=torch.from_numpy(points),
        vertices=_vertices(subdivision.inputs, cell[real], vertex[real], around=points),
        bounded=torch.from_numpy(bounded),
        neighbours=torch.from_numpy(np.unique(pairs[~inner], axis=0)),
        complete=subdivision.complete,
        tolerance=TOLERANCE,
    )


def _grouped(corners: tuple[Indices, Indices], group: Indices, vertices: int) -> tuple[Indices, Indices]:
    """Pairs (cell, vertex) as pairs (group, vertex), each once, in order."""
    keys = np.unique(group[corners[0]] * vertices + corners[1])
    cell, vertex = np.divmod(keys, vertices)
    return cell, vertex


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
