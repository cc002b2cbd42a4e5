"""The graph of one output over the plane: a polygon for every cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib import colormaps
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from torch import Tensor

from geometry.polyhedra._cells import Cells
from geometry.polyhedra.drawings.cells_2d import bounded_polygons


def surface(axes: Axes3D, cells: Cells, outputs: Callable[[Tensor], Tensor], *, output: int = 0) -> Poly3DCollection:
    """Draw one output of a network, (n, 2) -> (n, K), over its cells: exact, for it is affine on each.

    Raises ValueError unless the cells are bounded polygons.
    """
    polygons = bounded_polygons(cells)
    with torch.no_grad():
        heights = outputs(torch.cat(cells.vertices))[:, output].double().numpy()
    parts = np.split(heights, np.cumsum([len(polygon) for polygon in polygons])[:-1])
    facets = [np.column_stack([polygon, part]) for polygon, part in zip(polygons, parts, strict=True)]
    low, high = float(heights.min()), float(heights.max())
    means = np.array([part.mean() for part in parts])
    colors = colormaps["viridis"]((means - low) / max(high - low, 1e-300))
    drawn = Poly3DCollection(facets, facecolors=colors, edgecolors="black", linewidths=0.2)
    axes.add_collection3d(drawn)
    corners = np.concatenate(facets)
    axes.auto_scale_xyz(*corners.T)
    return drawn
