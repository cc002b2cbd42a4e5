"""Where units switch on and off, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from geometry.polyhedra._cells import Cells
from geometry.polyhedra.drawings.cells_2d import bounded_polygons


def unit_boundaries(axes: Axes, cells: Cells, widths: Sequence[int]) -> list[LineCollection]:
    """Draw the edges between cells in the colour of the first layer in which a unit differs; thinner for later layers.

    widths: units of each hidden layer. Raises ValueError unless the cells are bounded polygons and widths count their bits.
    """
    layers = edges_of_layers(cells, widths)
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
    drawn = []
    for layer, (edges, color) in enumerate(zip(layers, colors, strict=True), start=1):
        lines = LineCollection(list(edges), colors=[color], linewidths=2 / layer, label=f"layer {layer}")
        axes.add_collection(lines)
        drawn.append(lines)
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.legend(loc="upper right")
    return drawn


def edges_of_layers(cells: Cells, widths: Sequence[int]) -> list[np.ndarray]:
    """For each layer the edges (E, 2, 2) that neighbouring cells share and across which its bits are the first to change."""
    if sum(widths) != cells.patterns.shape[1]:
        raise ValueError(f"widths {list(widths)} make {sum(widths)} units; the cells have {cells.patterns.shape[1]}")
    corners = [{tuple(corner) for corner in polygon.tolist()} for polygon in bounded_polygons(cells)]
    first, second = cells.patterns[cells.neighbours].unbind(1)
    unit = (first ^ second).int().argmax(1).numpy() if len(first) else np.empty(0, np.intp)
    layer = np.searchsorted(np.cumsum(widths), unit, side="right")
    edges: list[list[list[tuple[float, ...]]]] = [[] for _ in widths]
    for (one, other), number in zip(cells.neighbours.tolist(), layer.tolist(), strict=True):
        shared = sorted(corners[one] & corners[other])
        if len(shared) > 1:
            edges[number].append([shared[0], shared[-1]])
    return [np.array(found).reshape(-1, 2, 2) for found in edges]
