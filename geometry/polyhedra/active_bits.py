"""The active bits of a cell: the units whose planes carry its facets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.polyhedra._box import Box, bounds
from geometry.polyhedra._facet_points import facets_by_points
from geometry.polyhedra._linear_program import INFINITE, Program, SolverFailed, Status
from geometry.polyhedra._unit_rows import UnitRows, planes, row_space, sheared, unit_rows
from geometry.polyhedra.chebyshev_center import chebyshev_center, require_inside
from geometry.polyhedra.halfspaces import EmptyCell, Halfspaces

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

GAP = 1e-7  # how far, in units of its own slack or 1, the others must reach beyond a halfspace that is a facet
TIGHT = 1e-9


@dataclass(frozen=True, eq=False)
class ActiveBits:
    """active (m,) booleans: which rows of the cell carry a facet. plane (m,): rows with one number lie on one plane.

    Rows on one plane are active together, and their bits flip together; a row that is zero has the number -1. A facet
    that the other halfspaces pass by less than tolerance (in units of its distance, or 1) may be missing.
    """

    active: Tensor
    plane: Tensor
    tolerance: float


def active_bits(cell: Halfspaces, *, box: Box | None = None) -> ActiveBits:
    """The rows that are facets of the cell, or of its part in the box (lower, upper), whose own sides are not counted.

    A row is a facet where the others, without those on its plane, reach beyond its halfspace. Points that show facets
    come first, then a linear program for each row that is left; in a box of many dimensions these are slow. Raises
    EmptyCell for a cell without interior, ValueError for a box that is empty, inverted or leaves the cell's point
    outside, SolverFailed where HiGHS does not answer. Source: Liu et al. 2023, equation (6).
    """
    unit = unit_rows(cell)
    plane = planes(unit)
    heads = np.unique(plane)
    rows, slack = _from_inside(cell, unit, heads, box)
    facet = facets_by_points(rows, slack)
    facet[len(heads) :] = True
    _decide(rows, slack, facet)
    active, number = np.zeros(len(cell.normals), dtype=bool), np.full(len(cell.normals), -1)
    number[unit.kept] = np.searchsorted(heads, plane)
    active[unit.kept] = facet[number[unit.kept]]
    return ActiveBits(torch.from_numpy(active), torch.from_numpy(number), GAP)


def _from_inside(cell: Halfspaces, unit: UnitRows, heads: NDArray[np.intp], box: Box | None) -> tuple[Floats, Floats]:
    """Unit rows and slack > 0, seen from an inner point; a box adds its sides behind, and is not reduced."""
    rows, slack = unit.rows[heads], unit.slack[heads]
    point = unit.origin
    if box is not None:
        d = rows.shape[1]
        lower, upper = bounds(box, d)
        require_inside(cell, lower, upper)
        rows = np.concatenate([rows, np.eye(d), -np.eye(d)])
        slack = np.concatenate([slack, upper - point, point - lower])
    if slack.min(initial=INFINITE) <= TIGHT:
        ball = chebyshev_center(cell, box=box)
        if ball.radius <= TIGHT:
            raise EmptyCell(f"the cell has no interior: the largest ball in it has the radius {ball.radius:.3g}")
        inner = ball.center if ball.direction is None else ball.center + ball.direction
        slack = slack - rows @ (inner.numpy() - point)
    if box is None:
        rows = rows @ row_space(cell, unit)
    return rows, slack


def _decide(rows: Floats, slack: Floats, facet: Mask) -> None:
    """Decide every row that no point showed to be a facet, by max rows[i] y under the others, in dual form.

    min slack l, rows' l = rows[i], l >= 0, where row i itself is put off by its slack or 1: only the right side changes
    from row to row, so each starts from the last, and ends as soon as the minimum is above slack[i] (a facet). A
    redundant row stays put off.
    """
    undecided = ~facet
    if not undecided.any():
        return
    rows, _ = sheared(rows)
    number, k = rows.shape
    program = Program(costs=slack, lower=np.zeros(number), upper=np.full(number, INFINITE))
    program.add_rows(rows.T.copy(), np.zeros(k), np.zeros(k))
    vertex = np.zeros(k)
    while undecided.any():
        left = np.flatnonzero(undecided)
        row = int(left[np.argmin(slack[left] - rows[left] @ vertex)])
        undecided[row] = False
        most = slack[row] + GAP * max(1.0, slack[row])
        program.demand(rows[row])
        program.charge(row, slack[row] + max(1.0, slack[row]))
        status = program.solve(bound=most)
        vertex = program.duals
        if status == Status.kInfeasible:
            raise SolverFailed(
                f"HiGHS found no multipliers for row {row}, which has itself; scale the network's weights"
            )
        facet[row] = status == Status.kObjectiveBound or float(rows[row] @ vertex) > most
        if facet[row]:
            program.charge(row, slack[row])
        elif status == Status.kOptimal:
            shown = _facets_at(vertex, rows, slack, undecided)
            facet |= shown
            undecided &= ~shown


def _facets_at(vertex: Floats, rows: Floats, slack: Floats, undecided: Mask) -> Mask:
    """The undecided rows that meet at a vertex of as many independent rows as dimensions, clearly apart from the others."""
    room = slack - rows @ vertex
    tight = room < TIGHT
    shown: Mask = tight & undecided
    simple = shown.any() and tight.sum() == rows.shape[1] and not ((room >= TIGHT) & (room < GAP)).any()
    return shown if simple and np.linalg.matrix_rank(rows[tight]) == rows.shape[1] else np.zeros_like(tight)
