"""Cells in space, each moved away from the middle so that those within can be seen."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from scipy.spatial import ConvexHull

from geometry.polyhedra._cells import Cells
from geometry.polyhedra.drawings.cells_2d import distinct_colors


def cells_3d(axes: Axes3D, cells: Cells, *, apart: float = 0.3, opacity: float = 0.8) -> list[Poly3DCollection]:
    """Draw every bounded cell as a solid, moved outwards by a share `apart` of its distance from the middle of all.

    Raises ValueError for cells in other than three dimensions.
    """
    if cells.points.shape[1] != 3:
        raise ValueError(f"cells in three dimensions are needed, not in {cells.points.shape[1]}")
    middle = cells.points[cells.bounded].mean(0)
    colors = colormaps["tab20"](distinct_colors(cells) % 20)
    drawn, corners = [], [np.empty((0, 3))]
    for cell in cells.bounded.nonzero().flatten().tolist():
        moved = (cells.vertices[cell] + apart * (cells.points[cell] - middle)).numpy()
        solid = Poly3DCollection(
            moved[ConvexHull(moved, qhull_options="QJ").simplices], facecolors=[colors[cell]], alpha=opacity
        )
        axes.add_collection3d(solid)
        drawn.append(solid)
        corners.append(moved)
    axes.auto_scale_xyz(*np.concatenate(corners).T)
    return drawn
