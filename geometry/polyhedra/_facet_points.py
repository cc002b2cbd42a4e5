"""Rows shown to be facets by a point: one on a row's plane and strictly inside every other halfspace.

Each undecided row looks for its own point by projections onto the most violated halfspace within its plane, all at once
through the rows' Gram matrix (Agmon 1954, "The relaxation method for linear inequalities").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

OVER = 1.7  # of a projection; beyond 1 the search ends inside, not on the border
ROUND = 50  # projections between two looks at whether the search still pays
PAYS = 50  # it does while a round shows more than one in so many of the wanted rows
PARALLEL = 1e-10  # 1 - cosine^2 below which two planes do not guide each other
AIM = 1e-10  # how far inside the projections aim
INSIDE = 1e-13  # how far inside a point must lie, in units of the largest slack


def facets_by_points(rows: Floats, slack: Floats) -> Mask:
    """The unit rows (n, k) of rows y <= slack, slack > 0, that are surely facets; the rest may be or not."""
    found = np.zeros(len(rows), dtype=bool)
    search = _Search(rows, slack)
    while len(search.wanted):
        before = len(search.wanted)
        for _ in range(ROUND):
            found[search.step()] = True
        if before - len(search.wanted) <= before // PAYS:
            break
    return found


class _Search:
    """For each wanted row a point (k,) in its plane, and how far it lies beyond every halfspace (n,)."""

    def __init__(self, rows: Floats, slack: Floats) -> None:
        self.rows, self.slack, self.cosines = rows, slack, rows @ rows.T
        self.wanted = np.arange(len(rows))
        self.own = self.cosines
        self.points = rows * slack[:, None]
        self.beyond = slack[:, None] * self.cosines - slack

    def step(self) -> Indices:
        """Project each point once; the rows whose points had come inside, which are wanted no more."""
        each = np.arange(len(self.wanted))
        self.beyond[each, self.wanted] = -np.inf
        worst = self.beyond.argmax(1)
        distance, cosine = self.beyond[each, worst], self.own[each, worst]
        inside = distance < 0
        shown = self._confirmed(inside)
        left = ~inside & (1.0 - cosine**2 > PARALLEL)
        if not left.all():
            worst, distance, cosine = worst[left], distance[left], cosine[left]
            self.wanted, self.own = self.wanted[left], self.own[left]
            self.points, self.beyond = self.points[left], self.beyond[left]
        away = OVER * (distance + AIM) / (1.0 - cosine**2)
        aside = away * cosine
        self.points += aside[:, None] * self.rows[self.wanted] - away[:, None] * self.rows[worst]
        self.beyond += aside[:, None] * self.own
        self.beyond -= away[:, None] * self.cosines[worst]
        return shown

    def _confirmed(self, inside: Mask) -> Indices:
        """Of the rows whose points seem to be inside, those whose points are when measured afresh."""
        wanted = self.wanted[inside]
        each = np.arange(len(wanted))
        beyond = self.points[inside] @ self.rows.T - self.slack
        astray = np.abs(beyond[each, wanted])
        beyond[each, wanted] = -np.inf
        margin = np.maximum(2 * astray, INSIDE * float(self.slack.max(initial=0.0)))
        shown: Indices = wanted[beyond.max(1, initial=-np.inf) < -margin]
        return shown
