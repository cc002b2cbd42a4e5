"""The largest ball in a cell: its Chebyshev centre and radius."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.polyhedra._box import Box, bounds
from geometry.polyhedra._chebyshev_box import ball_in_box
from geometry.polyhedra._chebyshev_space import bounded_ball, inward_direction
from geometry.polyhedra._unit_rows import UnitRows, row_space, sheared, unit_rows
from geometry.polyhedra.halfspaces import EmptyCell, Halfspaces

Floats = NDArray[np.float64]

EMPTY = 1e-9  # a radius below minus this, in units of the largest slack or side, says that no point is left


@dataclass(frozen=True, eq=False)
class ChebyshevBall:
    """The ball of the given radius at centre (d,) lies in the cell, and none lies there that is larger by more than tolerance.

    An infinite radius has no centre: centre is then a point of the cell, with direction (d,), along which the room grows
    without end.
    """

    center: Tensor
    radius: float
    tolerance: float
    direction: Tensor | None = None


def chebyshev_center(cell: Halfspaces, *, box: Box | None = None) -> ChebyshevBall:
    """The largest ball in the cell, and in the box (lower, upper) if there is one, in units of the input.

    Without a box the radius of a cell may be infinite; a radius of 0 is a cell without interior. Raises EmptyCell where
    no point is left, ValueError for a box that is empty, inverted or leaves the cell's point outside, SolverFailed
    where HiGHS does not answer. Source: Liu et al. 2023, equations (7) and (8).
    """
    unit = unit_rows(cell)
    if box is None:
        return _in_space(cell, unit)
    lower, upper = bounds(box, cell.normals.shape[1])
    require_inside(cell, lower, upper)
    center, radius = ball_in_box(unit.rows, unit.slack + unit.rows @ unit.origin, lower, upper)
    center = center.clip(lower, upper)
    sides = min(float((center - lower).min()), float((upper - center).min()))
    return _ball(unit, center, radius, sides=sides, scale=float((upper - lower).max()))


def require_inside(cell: Halfspaces, lower: Floats, upper: Floats) -> None:
    """Raise ValueError where the cell's point lies outside the box."""
    if cell.point is None:
        return
    point = cell.point.detach().cpu().double().numpy()
    outside = np.maximum(lower - point, point - upper)
    if outside.max() > 0:
        axis = int(outside.argmax())
        raise ValueError(
            f"the point lies outside the box: its coordinate {axis} is {point[axis]}, and the box goes from {lower[axis]} "
            f"to {upper[axis]} there; give a larger box, or halfspaces without a point"
        )


def _in_space(cell: Halfspaces, unit: UnitRows) -> ChebyshevBall:
    basis = row_space(cell, unit)
    rows, back = sheared(unit.rows @ basis)
    basis = basis @ back
    direction = np.zeros(rows.shape[1]) if not len(rows) else inward_direction(rows)
    if direction is not None:
        away = max(0.0, float((-unit.slack / -(rows @ direction)).max(initial=0.0)))
        center = unit.origin + basis @ direction * away
        return ChebyshevBall(torch.from_numpy(center), inf, 0.0, torch.from_numpy(basis @ direction))
    offset, radius = bounded_ball(rows, unit.slack)
    scale = float(np.abs(unit.slack).max(initial=0.0))
    return _ball(unit, unit.origin + basis @ offset, radius, sides=inf, scale=scale)


def _ball(unit: UnitRows, center: Floats, most: float, *, sides: float, scale: float) -> ChebyshevBall:
    """The ball that surely lies in the cell, measured at its centre, with what the bound leaves open."""
    if most < -EMPTY * max(1.0, scale):
        raise EmptyCell(f"the cell is empty: the nearest its halfspaces come to a common point is {-most:.3g} apart")
    room = min(float((unit.slack - unit.rows @ (center - unit.origin)).min(initial=inf)), sides)
    radius = max(room, 0.0)
    return ChebyshevBall(torch.from_numpy(center), radius, max(most - radius, 0.0))
