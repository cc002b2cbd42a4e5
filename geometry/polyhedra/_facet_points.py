"""Rows shown to be facets by a point: one on a row's plane and strictly inside every other halfspace.

Each undecided row looks for its own point by projections onto the most violated halfspace within its plane, all at once
through the rows' Gram matrix (Agmon 1954, "The relaxation method for linear inequalities").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

OVER = 1.7  # of a projection; beyond 1 the search ends inside, not on the border
ROUND = 50  # projections between two looks at whether the search still pays
PARALLEL = 1e-10  # 1 - cosine^2 below which two planes do not guide each other
INSIDE = 1e-10  # how far inside a point must lie, in units of the largest slack


def facets_by_points(rows: Floats, slack: Floats) -> Mask:
    """The unit rows (n, k) of rows y <= slack, slack > 0, that are surely facets; the rest may be or not."""
    found = np.zeros(len(rows), dtype=bool)
    search = _Search.start(rows, slack)
    while len(search.wanted):
        before = len(search.wanted)
        for _ in range(ROUND):
            search, done = search.step()
            found[done] = True
        if before - len(search.wanted) <= before // 100:
            break
    return found


@dataclass(frozen=True, eq=False)
class _Search:
    """The points (w, k) of the wanted rows, and how far each lies beyond every halfspace (w, n)."""

    rows: Floats
    slack: Floats
    cosines: Floats
    wanted: Indices
    points: Floats
    beyond: Floats

    @staticmethod
    def start(rows: Floats, slack: Floats) -> _Search:
        """Each row begins at the foot of the perpendicular from the origin on its plane."""
        wanted = np.arange(len(rows))
        cosines = rows @ rows.T
        return _Search(rows, slack, cosines, wanted, rows * slack[:, None], slack[:, None] * cosines - slack)

    def step(self) -> tuple[_Search, Indices]:
        """One projection for each wanted row; and the rows whose points turned out to be inside."""
        each = np.arange(len(self.wanted))
        self.beyond[each, self.wanted] = -np.inf
        worst = self.beyond.argmax(1)
        distance = self.beyond[each, worst]
        inside = distance < 0
        done = self._confirmed(inside)
        cosine = self.cosines[self.wanted, worst]
        steep = 1.0 - cosine**2
        left = ~inside & (steep > PARALLEL)
        wanted, worst = self.wanted[left], worst[left]
        away = OVER * (distance[left] + INSIDE) / steep[left]
        aside = away * cosine[left]
        points, beyond = self.points[left], self.beyond[left]
        points += aside[:, None] * self.rows[wanted] - away[:, None] * self.rows[worst]
        beyond += aside[:, None] * self.cosines[wanted] - away[:, None] * self.cosines[worst]
        return _Search(self.rows, self.slack, self.cosines, wanted, points, beyond), done

    def _confirmed(self, inside: Mask) -> Indices:
        """Of the rows whose points seem to be inside, those whose points are when measured afresh."""
        wanted = self.wanted[inside]
        beyond = self.points[inside] @ self.rows.T - self.slack
        on_plane = np.abs(beyond[np.arange(len(wanted)), wanted])
        beyond[np.arange(len(wanted)), wanted] = -np.inf
        margin = INSIDE * float(self.slack.max(initial=0.0))
        confirmed: Indices = wanted[beyond.max(1, initial=-np.inf) < -np.maximum(2 * on_plane, margin * 1e-3)]
        return confirmed
