"""Linear programs by HiGHS that end as optimal, infeasible or past a bound; any other end is an error by name."""

from __future__ import annotations

import highspy
import numpy as np
from highspy._core import _Highs  # highspy.Highs subscribes to callbacks, and prints a banner for it
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Status = highspy.HighsModelStatus

INFINITE = float(highspy.kHighsInf)
SOLVED_TO = 1e-10  # feasibility of HiGHS, primal and dual
_OPTIONS: dict[str, bool | int | float | str] = {
    "output_flag": False,
    "presolve": "off",
    "threads": 1,
    "small_matrix_value": 1e-12,
    "primal_feasibility_tolerance": SOLVED_TO,
    "dual_feasibility_tolerance": SOLVED_TO,
}
_ATTEMPTS = ((1, 0), (4, 0), (1, 2))  # dual simplex, primal simplex, dual simplex on scaled rows


class SolverFailed(RuntimeError):
    """HiGHS did not finish a linear program, or answered neither optimal nor infeasible."""


class Program:
    """min costs v within bounds, lower <= rows v <= upper; kept by HiGHS between changes, so that each run starts warm."""

    def __init__(self, *, costs: Floats, lower: Floats, upper: Floats) -> None:
        self.highs = _Highs()
        for name, value in _OPTIONS.items():
            self.highs.setOptionValue(name, value)
        self.columns = np.arange(len(costs), dtype=np.int32)
        self.highs.addVars(len(costs), lower, upper)
        self.highs.changeColsCost(len(costs), self.columns, costs)

    def add_rows(self, rows: Floats, upper: Floats, lower: Floats | None = None) -> None:
        """Demand lower <= rows v <= upper of dense rows (n, columns)."""
        number = len(rows)
        row, column = np.nonzero(rows)
        starts = np.searchsorted(row, np.arange(number)).astype(np.int32)
        below = np.full(number, -INFINITE) if lower is None else lower
        self.highs.addRows(number, below, upper, len(row), starts, column.astype(np.int32), rows[row, column])

    def bound(self, lower: Floats, upper: Floats) -> None:
        """Other bounds of the first columns."""
        self.highs.changeColsBounds(len(lower), self.columns[: len(lower)], lower, upper)

    def demand(self, values: Floats) -> None:
        """Other values of the first rows, which are equations."""
        for row, value in enumerate(values.tolist()):
            self.highs.changeRowBounds(row, value, value)

    def charge(self, column: int, cost: float) -> None:
        """Another cost of one column."""
        self.highs.changeColCost(column, cost)

    def solve(self, *, bound: float = INFINITE) -> Status:
        """kOptimal, kInfeasible, or kObjectiveBound where the minimum is seen to exceed the bound."""
        self.highs.setOptionValue("objective_bound", bound)
        status = Status.kNotset
        for strategy, scaling in _ATTEMPTS:
            self.highs.setOptionValue("simplex_strategy", strategy)
            self.highs.setOptionValue("simplex_scale_strategy", scaling)
            self.highs.run()
            status = self.highs.getModelStatus()
            if status in (Status.kOptimal, Status.kInfeasible, Status.kObjectiveBound):
                return status
            self.highs.clearSolver()
        raise SolverFailed(
            f"HiGHS ended a linear program of {self.highs.getNumRow()} rows and {self.highs.getNumCol()} columns as "
            f"'{self.highs.modelStatusToString(status)}', not as optimal or infeasible; scale the network's weights"
        )

    @property
    def values(self) -> Floats:
        """The columns at the optimum."""
        return np.array(self.highs.getSolution().col_value)

    @property
    def duals(self) -> Floats:
        """What the minimum gains for each unit of a row's bound."""
        return np.array(self.highs.getSolution().row_dual)
