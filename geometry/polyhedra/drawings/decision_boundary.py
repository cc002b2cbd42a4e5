"""Where a network's decision changes, exactly: straight inside every cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray
from torch import Tensor

from geometry.polyhedra._cells import Cells
from geometry.polyhedra.drawings.cells_2d import bounded_polygons

Floats = NDArray[np.float64]


def decision_boundary(
    axes: Axes, cells: Cells, outputs: Callable[[Tensor], Tensor], *, color: str = "red"
) -> LineCollection:
    """Draw the decision boundary of a network over its cells in the plane."""
    drawn = LineCollection(list(decision_segments(cells, outputs).numpy()), colors=color, linewidths=1.5)
    axes.add_collection(drawn)
    axes.autoscale_view()
    return drawn


def decision_segments(cells: Cells, outputs: Callable[[Tensor], Tensor]) -> Tensor:
    """Segments (S, 2, 2) on which two classes share the largest output, or on which a single output is 0.

    outputs: the network on points of the plane, (n, 2) -> (n, K), affine on every cell. Raises ValueError unless the
    cells are bounded polygons.
    """
    polygons = bounded_polygons(cells)
    with torch.no_grad():
        heights = outputs(torch.cat(cells.vertices)).double().numpy()
    if heights.shape[1] == 1:
        heights = np.concatenate([heights, np.zeros_like(heights)], axis=1)
    ends = np.cumsum([len(polygon) for polygon in polygons])[:-1]
    found = [
        segment
        for polygon, values in zip(polygons, np.split(heights, ends), strict=True)
        for segment in _segments(polygon, values)
    ]
    return torch.from_numpy(np.array(found).reshape(-1, 2, 2))


def _segments(polygon: Floats, heights: Floats) -> list[Floats]:
    """For each pair of classes that may win here, the part of their tie on which no third is above."""
    best = heights.max(1, keepdims=True)
    if (heights == best).all(0).any():
        return []
    found = []
    for one, other in itertools.combinations(range(heights.shape[1]), 2):
        ends = _zeros(heights[:, one] - heights[:, other])
        if ends is None:
            continue
        start, stop = ends @ heights
        lead = np.stack([start[one] - start, stop[one] - stop])
        first, last = _kept(np.delete(lead, (one, other), axis=1))
        if first < last:
            a, b = ends @ polygon
            found.append(np.stack([a + first * (b - a), a + last * (b - a)]))
    return found


def _zeros(height: Floats) -> Floats | None:
    """The two points of a polygon's boundary at which a linear height is 0, as weights (2, n) of its corners."""
    above = height > 0
    if above.all() or not above.any():
        return None
    following = np.roll(np.arange(len(height)), -1)
    edges = np.flatnonzero(above != above[following])
    weights = np.zeros((2, len(height)))
    for row, corner in zip(weights, edges[:2], strict=True):
        after = following[corner]
        row[corner] = height[after] / (height[after] - height[corner])
        row[after] = 1 - row[corner]
    return weights


def _kept(lead: Floats) -> tuple[float, float]:
    """The interval in [0, 1] on which all linear functions, given by their ends (2, n), are at least 0."""
    first, last = 0.0, 1.0
    for start, stop in lead.T.tolist():
        if start < 0 and stop < 0:
            return 1.0, 0.0
        if start < 0:
            first = max(first, start / (start - stop))
        elif stop < 0:
            last = min(last, start / (start - stop))
    return first, last
