"""Cells in the plane as polygons."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from torch import Tensor

from geometry.polyhedra._cells import Cells


def cells_2d(axes: Axes, cells: Cells, *, values: Tensor | None = None, colormap: str = "tab20") -> PolyCollection:
    """Fill every cell: by values (N,), such as an output or a radius, or with colours that tell neighbours apart.

    Raises ValueError unless the cells are bounded polygons: traverse a box.
    """
    polygons = bounded_polygons(cells)
    drawn = PolyCollection(polygons, edgecolors="black", linewidths=0.3)
    if values is None:
        drawn.set_facecolor([tuple(color) for color in colormaps[colormap](distinct_colors(cells) % 20).tolist()])
    else:
        drawn.set_array(values.detach().cpu().numpy())
        drawn.set_cmap("viridis" if colormap == "tab20" else colormap)
    axes.add_collection(drawn)
    axes.autoscale_view()
    axes.set_aspect("equal")
    return drawn


def bounded_polygons(cells: Cells) -> list[np.ndarray]:
    """The corners (n, 2) of every cell, in order."""
    if cells.points.shape[1] != 2:
        raise ValueError(f"cells in the plane are needed, not in {cells.points.shape[1]} dimensions")
    if not cells.bounded.all():
        raise ValueError(f"{int((~cells.bounded).sum())} cells are not bounded and cannot be filled: traverse a box")
    return [polygon.numpy() for polygon in cells.vertices]


def distinct_colors(cells: Cells) -> np.ndarray:
    """A number for each cell, unlike its neighbours': the least that none of those before it has."""
    beside: list[list[int]] = [[] for _ in range(len(cells))]
    for first, second in cells.neighbours.tolist():
        beside[max(first, second)].append(min(first, second))
    numbers = np.zeros(len(cells), np.intp)
    for cell, others in enumerate(beside):
        taken = {int(numbers[other]) for other in others}
        numbers[cell] = next(number for number in range(len(taken) + 1) if number not in taken)
    return numbers
