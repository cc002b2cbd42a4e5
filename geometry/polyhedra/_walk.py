"""All cells of a network by steps over facets, for more dimensions than vertices are kept in (Liu et al. 2023, algorithm 1).

A facet's linear program gives a point beyond it; the exact segment from inside the cell to that point names the neighbour.
So units that share a plane flip together, and no pattern is met that is not a cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from geometry.polyhedra._cells import Cells
from geometry.polyhedra._complex import TOLERANCE, Floats, Indices, Mask
from geometry.polyhedra._linear_program import INFINITE, Program
from geometry.polyhedra._segments import flips, scaled
from geometry.polyhedra._subdivision import Layer

GAP = 1e-7  # how far the other halfspaces must reach beyond a facet: absolute, and relative to the way to it
SAME = 1e-9  # two unit normals and their offsets are one plane

Bounds = tuple[Floats, Floats]


def walked_cells(layers: Sequence[Layer], *, box: Bounds | None, max_cells: int) -> Cells:
    """The cells that can be reached from one; raises SolverFailed where HiGHS ends without an answer."""
    walk = _Walk(layers, box)
    at, complete = 0, True
    while at < len(walk.points):
        complete = walk.visit(at, max_cells) and complete
        at += 1
    return Cells(
        patterns=torch.from_numpy(np.stack(walk.patterns)),
        points=torch.from_numpy(np.stack(walk.points)),
        vertices=(),
        bounded=torch.tensor([box is not None or _bounded(walk.halfspaces(at)[0]) for at in range(len(walk.points))]),
        neighbours=torch.tensor(sorted(walk.pairs), dtype=torch.int64).reshape(-1, 2),
        complete=complete,
        tolerance=GAP,
    )


class _Walk:
    """Cells met so far, numbered: a point in each, its bits, and the pairs that share a facet."""

    def __init__(self, layers: Sequence[Layer], box: Bounds | None) -> None:
        self.layers, self.box = scaled(layers), box
        self.points: list[Floats] = []
        self.patterns: list[Mask] = []
        self.known: list[set[int]] = []  # units on which a neighbour borders
        self.number: dict[bytes, int] = {}
        self.pairs: set[tuple[int, int]] = set()
        lower, upper = box or (-np.ones(layers[0][0].shape[1]), np.ones(layers[0][0].shape[1]))
        start = np.random.default_rng(0).uniform(lower, upper)
        self._meet(start, flips(self.layers, start[None], start[None]).start[0])

    def _meet(self, point: Floats, pattern: Mask) -> int:
        number = self.number.setdefault(pattern.tobytes(), len(self.points))
        if number == len(self.points):
            self.points.append(point)
            self.patterns.append(pattern)
            self.known.append(set())
        return number

    def halfspaces(self, cell: int) -> tuple[Floats, Floats]:
        """Unit rows of A and the slack c - A x >= 0 at the cell's point, one for each unit; 0 where a unit is constant."""
        x, rows, slack, first = self.points[cell], [], [], 0
        weight, bias = np.eye(len(x)), np.zeros(len(x))
        for layer, offset in self.layers:
            weight, bias = layer @ weight, layer @ bias + offset
            bits = self.patterns[cell][first : first + len(offset)]
            sign = np.where(bits, -1.0, 1.0)
            norm = np.linalg.norm(weight, axis=1)
            norm = np.where(norm > SAME, norm, np.inf)
            rows.append((sign / norm)[:, None] * weight)
            slack.append(np.maximum(-sign * (weight @ x + bias) / norm, 0))
            weight, bias = weight * bits[:, None], bias * bits
            first += len(offset)
        return np.concatenate(rows), np.concatenate(slack)

    def visit(self, cell: int, max_cells: int) -> bool:
        """Find the neighbours of a cell; whether there was room for all of them."""
        rows, slack = self.halfspaces(cell)
        program = _Beyond(rows, slack, self.box and (self.box[0] - self.points[cell], self.box[1] - self.points[cell]))
        room = True
        for unit in np.flatnonzero(rows.any(1)):
            if unit in self.known[cell]:
                continue
            same = np.flatnonzero((np.abs(rows - rows[unit]) <= SAME).all(1) & (np.abs(slack - slack[unit]) <= SAME))
            if same[0] != unit:
                continue
            step = program.step(int(unit), same)
            if step is None:
                continue
            point, pattern, units = self._beyond(cell, step)
            if pattern.tobytes() not in self.number and len(self.points) >= max_cells:
                room = False
                continue
            other = self._meet(point, pattern)
            self.known[cell].update(units)
            self.known[other].update(units)
            self.pairs.add((min(cell, other), max(cell, other)))
        return room

    def _beyond(self, cell: int, step: Floats) -> tuple[Floats, Mask, list[int]]:
        """The next cell from a cell's point in the direction of a step: a point in it, its bits, and the units that flipped."""
        x = self.points[cell]
        found = flips(self.layers, x[None], (x + step)[None])
        first = found.place <= found.place[0] + TOLERANCE
        later = found.place[~first]
        place = (found.place[0] + (later[0] if len(later) else 1.0)) / 2
        pattern = found.start[0].copy()
        pattern[found.unit[first]] ^= True
        return x + place * step, pattern, found.unit[first].tolist()


class _Beyond:
    """The linear programs of one cell: how far beyond one of its halfspaces do all others reach?"""

    def __init__(self, rows: Floats, slack: Floats, box: Bounds | None) -> None:
        self.rows, self.slack = rows, slack
        lower, upper = box or (np.full(rows.shape[1], -INFINITE), np.full(rows.shape[1], INFINITE))
        self.program = Program(costs=np.zeros(rows.shape[1]), lower=lower, upper=upper)
        self.program.add_rows(rows, slack)

    def step(self, unit: int, same: Indices) -> Floats | None:
        """From the cell's point to one beyond the halfspace of a unit (`same`: those with its plane); None if there is none."""
        room = max(1.0, float(self.slack[unit]))
        self._set(same, room)
        found = _maximum(self.program, self.rows[unit])
        self._set(same, 0.0)
        return found if float(self.rows[unit] @ found) > self.slack[unit] + GAP * room else None

    def _set(self, same: Indices, room: float) -> None:
        for row in same.tolist():
            self.program.highs.changeRowBounds(row, -INFINITE, float(self.slack[row]) + room)


def _bounded(rows: Floats) -> bool:
    """Whether {A x <= c} is bounded: no direction leads away from no halfspace."""
    if np.linalg.matrix_rank(rows) < rows.shape[1]:
        return False
    one = np.ones(rows.shape[1])
    program = Program(costs=one, lower=-one, upper=one)
    program.add_rows(rows, np.zeros(len(rows)))
    objective = -rows.sum(0)
    return float(objective @ _maximum(program, objective)) <= GAP


def _maximum(program: Program, objective: Floats) -> Floats:
    program.highs.changeColsCost(len(objective), program.columns, -objective)
    program.solve()
    return program.values
