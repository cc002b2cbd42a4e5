"""A polyhedral complex, cut by one height function after another, each linear on every cell: all cells of a network.

A point is a row (coordinates, w, size, heights): w = 1 for a point, 0 for a direction, so that an unbounded cell has
vertices too. Faces of one dimension are numbered, and bounded by faces of one dimension less: owner[k][i] is a k-face,
part[k][i] a (k - 1)-face on its boundary. Nothing is solved: a new vertex lies where a height on an edge is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry.polyhedra._growing import Growing

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
Signs = NDArray[np.int8]

TOLERANCE = 1e-12  # heights below this share of the size of their row are zero


class Complex:
    """Faces of dimension 0 to d, by the rows of their vertices and by what bounds them.

    rows: (vertices, columns); counts[k]: number of k-faces; owner[k], part[k]: the boundaries, k = 1, .., d.
    """

    def __init__(self, rows: Floats, owner: Sequence[Indices], part: Sequence[Indices], *, weight: int) -> None:
        self._rows, self.weight = Growing(rows), weight
        self.owner, self.part = list(owner), list(part)
        self.counts = [len(rows), *(int(faces.max()) + 1 for faces in owner[1:])]

    @property
    def dimensions(self) -> int:
        return len(self.counts) - 1

    @property
    def rows(self) -> Floats:
        return self._rows.values

    def replace_rows(self, rows: Floats) -> None:
        """The same vertices with other columns."""
        self._rows = Growing(rows)

    def cut(self, column: int) -> tuple[Mask, Indices]:
        """Cut along the zeros of a column: which cells then lie above, and the old cells whose part below is new.

        The part above keeps its number; the parts below are appended. A cell on which all is zero is not above.
        """
        height, size = self.rows[:, column], self.rows[:, self.weight + 1]
        side: Signs = (height > TOLERANCE * size).astype(np.int8) - (height < -TOLERANCE * size).astype(np.int8)
        cells = self.counts[-1]
        if side.min() > 0 or side.max() <= 0:
            return np.full(cells, side.min() > 0), np.empty(0, np.intp)
        sides, cut = [side], np.empty(0, np.intp)
        for k in range(1, self.dimensions + 1):
            cut = self._cut_faces(k, sides, cut, column)
        return sides[-1] > 0, cut

    def _cut_faces(self, k: int, sides: list[Signs], cut_below: Indices, column: int) -> Indices:
        """Divide the k-faces with vertices on both sides; adds the sides of all k-faces and returns those divided."""
        owner, part = self._with_new_parts(k, cut_below)
        below = sides[-1][part]
        above, beneath = np.zeros((2, self.counts[k]), np.bool_)
        above[owner[below > 0]] = True
        beneath[owner[below < 0]] = True
        cut = np.flatnonzero(above & beneath)
        side = above.view(np.int8) - beneath.view(np.int8)
        if len(cut):
            rank = np.full(self.counts[k], -1)
            rank[cut] = np.arange(len(cut))
            touched = np.flatnonzero(rank[owner] >= 0)
            divided = _Divided(cut, rank[owner[touched]], part[touched], below[touched])
            section = self.counts[k - 1] + np.arange(len(cut))
            if k == 1:
                self._add_points(divided, column)
            else:
                self._add_sections(k - 1, divided, sides)
            sides[-1] = np.append(sides[-1], np.zeros(len(cut), np.int8))
            self.counts[k - 1] += len(cut)
            moved = divided.side <= 0
            owner[touched[moved]] = self.counts[k] + divided.rank[moved]
            owner = np.concatenate([owner, cut, self.counts[k] + np.arange(len(cut))])
            part = np.concatenate([part, section, section])
            side[cut] = 1
            side = np.append(side, np.full(len(cut), -1, np.int8))
            self.counts[k] += len(cut)
        self.owner[k], self.part[k] = owner, part
        sides.append(side)
        return cut

    def _with_new_parts(self, k: int, cut_below: Indices) -> tuple[Indices, Indices]:
        """The boundaries of the k-faces after (k - 1)-faces have been divided: both halves belong to them."""
        owner, part = self.owner[k], self.part[k]
        if not len(cut_below):
            return owner, part
        half = np.full(self.counts[k - 1], -1)
        half[cut_below] = self.counts[k - 1] - len(cut_below) + np.arange(len(cut_below))
        halves = half[part]
        rows = np.flatnonzero(halves >= 0)
        return np.concatenate([owner, owner[rows]]), np.concatenate([part, halves[rows]])

    def _add_points(self, divided: _Divided, column: int) -> None:
        """One vertex on each divided edge, where the column is zero."""
        ends = np.empty((2, len(divided.faces)), np.intp)
        for end, chosen in zip(ends, (divided.side > 0, divided.side < 0), strict=True):
            end[divided.rank[chosen]] = divided.part[chosen]
        upper, lower = self.rows[ends[0]], self.rows[ends[1]]
        height, depth = upper[:, column, None], -lower[:, column, None]
        rows = (depth * upper + height * lower) / (height + depth)
        rows[:, column] = 0.0
        weight = rows[:, self.weight]
        length = np.where(weight > 0, weight, np.linalg.norm(rows[:, : self.weight], axis=1))
        self._rows.append(rows / length[:, None])

    def _add_sections(self, j: int, divided: _Divided, sides: list[Signs]) -> None:
        """The j-faces in which the plane meets the divided (j + 1)-faces.

        Their boundary is that of the boundary above the plane, modulo 2: all else is bounded twice.
        """
        chosen = np.flatnonzero((sides[j - 1][self.part[j]] == 0) & (sides[j][self.owner[j]] > 0))
        above = divided.side > 0
        left, right = _joined(divided.part[above], self.owner[j][chosen])
        bound = self.counts[j - 1]
        keys = divided.rank[above][left] * bound + self.part[j][chosen[right]]
        keys, times = np.unique(keys, return_counts=True)
        section, part = np.divmod(keys[times % 2 == 1], bound)
        if j == 1 and not (np.bincount(section, minlength=len(divided.faces)) == 2).all():
            raise ArithmeticError("a polygon is cut in other than two points: heights that are not linear on a cell?")
        self.owner[j] = np.concatenate([self.owner[j], self.counts[j] + section])
        self.part[j] = np.concatenate([self.part[j], part])

    def keep(self, cells: Mask) -> None:
        """Forget all other cells, and the faces that bound none of those kept."""
        kept = cells
        for k in range(self.dimensions, 0, -1):
            rows = kept[self.owner[k]]
            parts = np.zeros(self.counts[k - 1], np.bool_)
            parts[self.part[k][rows]] = True
            self.owner[k] = (np.cumsum(kept) - 1)[self.owner[k][rows]]
            self.part[k] = (np.cumsum(parts) - 1)[self.part[k][rows]]
            self.counts[k] = int(kept.sum())
            kept = parts
        self._rows = Growing(self.rows[kept])
        self.counts[0] = len(self.rows)

    def corners(self, facets: Mask | None = None) -> tuple[Indices, Indices]:
        """The vertices of every cell, on some of its facets or on all, as pairs (cell, vertex) in the order of the cells."""
        cell, face = self.owner[-1], self.part[-1]
        if facets is not None:
            cell, face = cell[facets[face]], face[facets[face]]
        for k in range(self.dimensions - 1, 0, -1):
            left, right = _joined(face, self.owner[k])
            keys = np.unique(cell[left] * self.counts[k - 1] + self.part[k][right])
            cell, face = np.divmod(keys, self.counts[k - 1])
        order = np.argsort(cell, kind="stable")
        return cell[order], face[order]

    def adjacent(self) -> tuple[Indices, Indices]:
        """Pairs (E, 2) of cells that share a facet, a face of one dimension less, and that facet (E,)."""
        order = np.argsort(self.part[-1], kind="stable")
        cell, face = self.owner[-1][order], self.part[-1][order]
        shared = np.flatnonzero(face[1:] == face[:-1])
        return np.stack([cell[shared], cell[shared + 1]], axis=1), face[shared]


@dataclass(frozen=True, eq=False)
class _Divided:
    """Faces that a plane divides, and what bounds them: part i bounds faces[rank[i]] and lies on side[i]."""

    faces: Indices
    rank: Indices
    part: Indices
    side: Signs


def _joined(left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """All pairs (i, j) with left[i] = right[j], in the order of i."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    first, last = np.searchsorted(ordered, left, "left"), np.searchsorted(ordered, left, "right")
    number = last - first
    rows = np.repeat(np.arange(len(left)), number)
    offset = np.arange(len(rows)) - np.repeat(np.cumsum(number) - number, number)
    return rows, order[np.repeat(first, number) + offset]
