"""The paper's way by cvxpy, slow and trusted: one convex program for a radius, one for each row's redundancy.

Liu et al. 2023 solve equations (6) to (8) as they stand. These are what the fast ways are compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from geometry.polyhedra._box import Box, bounds
from geometry.polyhedra.halfspaces import Halfspaces


class NoAnswer(RuntimeError):
    """The solver that cvxpy chose did not end as optimal."""


def chebyshev_radius(cell: Halfspaces, *, box: Box | None = None, cap: float = 1e3) -> float:
    """The radius of the largest ball in the cell and the box, at most `cap`; equations (7) and (8)."""
    import cvxpy

    normals, offsets = cell.normals.numpy(), cell.offsets.numpy()
    center, radius = cvxpy.Variable(normals.shape[1]), cvxpy.Variable()
    constraints: list[Any] = [normals @ center + radius * np.linalg.norm(normals, axis=1) <= offsets, radius <= cap]
    if box is not None:
        lower, upper = bounds(box, normals.shape[1])
        constraints += [center + radius <= upper, -center + radius <= -lower]
    return _maximum(cvxpy.Problem(cvxpy.Maximize(radius), constraints))


def is_active(cell: Halfspaces, row: int, *, box: Box | None = None) -> bool:
    """Whether the other rows, with this one put off by 1, reach beyond it by more than 1e-6; equation (6)."""
    import cvxpy

    norms = np.linalg.norm(cell.normals.numpy(), axis=1)
    normals, offsets = cell.normals.numpy() / norms[:, None], cell.offsets.numpy() / norms
    x = cvxpy.Variable(normals.shape[1])
    constraints: list[Any] = [normals @ x <= offsets + np.eye(len(offsets))[row]]
    if box is not None:
        lower, upper = bounds(box, normals.shape[1])
        constraints += [x <= upper, x >= lower]
    return _maximum(cvxpy.Problem(cvxpy.Maximize(normals[row] @ x), constraints)) > float(offsets[row]) + 1e-6


def _maximum(problem: Any) -> float:
    problem.solve()
    if problem.status != "optimal":
        raise NoAnswer(f"cvxpy ended as '{problem.status}', not as optimal")
    return float(problem.value)
