"""Pictures of Liu et al. 2023: the cells of a small network, four ways, and those of one in space."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from torch import nn

from geometry.polyhedra.drawings.cells_2d import cells_2d
from geometry.polyhedra.drawings.cells_3d import cells_3d
from geometry.polyhedra.drawings.decision_boundary import decision_boundary
from geometry.polyhedra.drawings.dual_points import dual_points
from geometry.polyhedra.drawings.surface import surface
from geometry.polyhedra.drawings.unit_boundaries import unit_boundaries
from geometry.polyhedra.local_affine_map import local_affine_map
from geometry.polyhedra.traverse import traverse
from leaderboard.papers._liu_y_toys import Toy

BOX = (-1.0, 1.0)


def draw(folder: Path) -> list[tuple[str, Path]]:
    """Figures 1 and 2, drawn: titles and files in the folder."""
    (flat,), _ = Toy(2, 10, 2, 0.4, 10_000, 1, 40).trained()
    (solid,), _ = Toy(3, 6, 2, 1.0, 10_000, 1, 40).trained()
    path = folder / "liu_y_cells.png"
    _cells(flat, solid).savefig(path, dpi=110)
    return [("Figures 1 and 2: cells of 2-10-10-1, and of a smaller network in space", path)]


def _cells(flat: nn.Module, solid: nn.Module) -> Figure:
    figure = Figure(figsize=(13, 8), layout="constrained")
    cells = traverse(flat, BOX)
    axes = figure.add_subplot(2, 3, 1, title=f"{len(cells)} cells in [-1, 1]², decision boundary in red")
    cells_2d(axes, cells)
    decision_boundary(axes, cells, flat)
    axes = figure.add_subplot(2, 3, 2, title="Where units switch")
    unit_boundaries(axes, cells, [10, 10])
    axes = figure.add_subplot(2, 3, 3, title="Output at a point of each cell")
    figure.colorbar(cells_2d(axes, cells, values=flat(cells.points)[:, 0]), ax=axes)
    surface(_space(figure, 4, "The function"), cells, flat)
    maps = local_affine_map(flat, cells.points)
    dual_points(_space(figure, 5, "Dual points: a map (w, b) a cell"), maps.weight, maps.bias)
    cells = traverse(solid, BOX)
    cells_3d(_space(figure, 6, f"{len(cells)} cells of 3-6-6-1 in [-1, 1]³"), cells)
    return figure


def _space(figure: Figure, place: int, title: str) -> Axes3D:
    return cast("Axes3D", figure.add_subplot(2, 3, place, projection="3d", title=title))
