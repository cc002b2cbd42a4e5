"""The largest ball in a cell and a box: Newton's method over linear programs that hold the box as bounds.

With x = middle + z and r = R - rho, the ball of radius r at x lies in the box iff |z| <= rho (plus what a longer side
has to spare) and in the cell iff rows z - rho <= c'. t(rho) = min {t: rows z - t <= c', |z| <= rho} is convex and falls;
the smallest rho with t(rho) <= rho is approached from below, with rows added as they are violated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geometry.polyhedra._linear_program import INFINITE, Program, SolverFailed

Floats = NDArray[np.float64]

REACHED = 1e-10  # of a violation, and of t - rho
STEPS = 200


def ball_in_box(rows: Floats, offsets: Floats, lower: Floats, upper: Floats) -> tuple[Floats, float]:
    """Centre and an upper bound of the radius, of unit rows x <= offsets within the box; below 0 where no point is left."""
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    largest = float(half.min())
    spare, ends = half - largest, offsets - rows @ middle - largest
    d = len(half)
    program = Program(costs=np.eye(d + 1)[d], lower=np.r_[-spare, -INFINITE], upper=np.r_[spare, INFINITE])
    batch = max(20, len(rows) // 40)
    added = np.empty(0, dtype=np.intp)
    violated = np.argsort(ends, kind="stable")[:batch]
    rho = 0.0
    for _ in range(STEPS):
        program.add_rows(np.column_stack([rows[violated], -np.ones(len(violated))]), ends[violated])
        added = np.r_[added, violated]
        program.solve()
        z, t = program.values[:d], float(program.values[d])
        beyond = rows @ z - t - ends
        violated = np.argsort(-beyond, kind="stable")[:batch]
        violated = violated[beyond[violated] > REACHED]
        if not len(violated) and t - rho <= REACHED:
            return middle + z, largest - rho
        if t > rho:
            slope = -float(np.abs(program.duals @ rows[added]).sum())
            rho += (t - rho) / (1.0 - slope)
            program.bound(-(spare + rho), spare + rho)
    raise SolverFailed(
        f"the largest ball in the box was not reached in {STEPS} linear programs; scale the network's weights"
    )
