"""The largest ball in a cell of the whole space: first whether balls of every size fit, then the dual linear program."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geometry.polyhedra._linear_program import INFINITE, Program, SolverFailed, Status

Floats = NDArray[np.float64]

INWARD = 1e-9  # of unit rows along a direction whose coordinates reach 1
STEPS = 200


def inward_direction(rows: Floats) -> Floats | None:
    """A direction y (k,), |y| <= 1, that every row (n, k) falls along, by linear programs with violated rows added.

    None where there is none; if there is one, the halfspaces hold balls of every size.
    """
    number, k = rows.shape
    if not k:
        return None
    program = Program(costs=np.eye(k + 1)[k], lower=np.r_[-np.ones(k), -INFINITE], upper=np.r_[np.ones(k), INFINITE])
    batch = max(60, number // 8)
    violated = np.argsort(rows @ rows.sum(0), kind="stable")[: max(batch, k)]
    for _ in range(STEPS):
        program.add_rows(np.column_stack([rows[violated], -np.ones(len(violated))]), np.zeros(len(violated)))
        program.solve()
        y, t = program.values[:k], float(program.values[k])
        along = rows @ y
        if along.max() < -INWARD:
            return y
        violated = np.argsort(-along, kind="stable")[:batch]
        violated = violated[along[violated] > t + INWARD / 10]
        if t > -INWARD or not len(violated):
            return None
    raise SolverFailed(
        f"no answer in {STEPS} linear programs whether the cell holds every ball; scale the network's weights"
    )


def bounded_ball(rows: Floats, slack: Floats) -> tuple[Floats, float]:
    """Centre (k,) and radius of the largest ball in rows y <= slack, where it is bounded: min slack l, rows' l = 0, sum l = 1."""
    number, k = rows.shape
    scale = max(float(np.abs(slack).max(initial=0.0)), 1e-300)
    program = Program(costs=slack / scale, lower=np.zeros(number), upper=np.full(number, INFINITE))
    demanded = np.eye(k + 1)[k]
    program.add_rows(np.column_stack([rows, np.ones(number)]).T.copy(), demanded, demanded)
    if program.solve() != Status.kOptimal:
        raise SolverFailed(
            "the largest ball of a cell is neither bounded nor of every size within the solver's tolerance"
        )
    return program.duals[:k] * scale, float(program.duals[k]) * scale
