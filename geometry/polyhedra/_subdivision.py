"""The complexes that traversal starts from, and a network's layers cut into them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from geometry.polyhedra._complex import TOLERANCE, Complex, Floats, Indices, Mask
from geometry.polyhedra._growing import Growing

Layer = tuple[Floats, Floats]


class Subdivision:
    """The cells of a network's hidden layers, cut one unit after another; patterns (cells, units) hold their bits.

    The input of a vertex is coordinates @ frame + w origin.
    """

    def __init__(self, cells: Complex, *, frame: Floats, origin: Floats, max_cells: int) -> None:
        self.cells, self.frame, self.origin, self.max_cells = cells, frame, origin, max_cells
        self._patterns = Growing(np.zeros((cells.counts[-1], 0), np.bool_))
        self.complete = True
        self.walls = len(frame) > len(origin)  # the whole space begins in cones

    @property
    def patterns(self) -> Mask:
        """The bits of every cell so far: (cells, units)."""
        return self._patterns.values

    @property
    def inputs(self) -> Floats:
        """Points, and directions where the weight is 0: (vertices, d)."""
        rows, weight = self.cells.rows, self.cells.weight
        return rows[:, :weight] @ self.frame + self.weights[:, None] * self.origin

    @property
    def weights(self) -> Floats:
        """1 for a point, 0 for a direction: (vertices,)."""
        return self.cells.rows[:, self.cells.weight]

    @property
    def artificial(self) -> Mask:
        """Which vertices lie on a wall that no unit has put there: (vertices,)."""
        if not self.walls:
            return np.zeros(self.cells.counts[0], np.bool_)
        on_wall: Mask = (self.cells.rows[:, : self.cells.weight] == 0).sum(1) > 1
        return on_wall

    def cut(self, layers: Iterable[Layer]) -> None:
        """Cut along the units of each layer; the last one given counts as a layer of units too."""
        activations = self.inputs
        for weight, bias in layers:
            heights = self.cut_units(activations, weight, bias)
            activations = np.maximum(heights, 0)

    def cut_units(self, activations: Floats, weight: Floats, bias: Floats) -> Floats:
        """Cut along one layer; returns its pre-activations at all vertices, (vertices, units)."""
        norms = np.sqrt(np.square(weight).sum(1) + np.square(bias))
        norms[norms == 0] = 1.0
        size = np.sqrt(np.square(activations).sum(1) + np.square(self.weights))
        heights = (activations @ weight.T + self.weights[:, None] * bias) / norms
        self.cut_heights(heights, size)
        found, size = self.cells.rows[:, self.cells.weight + 2 :], self.cells.rows[:, self.cells.weight + 1]
        small = np.abs(found) <= TOLERANCE * size[:, None]  # at infinity rounding may be all that is left
        exact: Floats = np.where(small, 0.0, found * norms)
        return exact

    def cut_heights(self, heights: Floats, size: Floats) -> None:
        """Cut along the zeros of each column of heights (vertices, units), which are rounded in parts of `size`."""
        cells, start = self.cells, self.cells.weight + 2
        cells.replace_rows(np.concatenate([cells.rows[:, : start - 1], size[:, None], heights], axis=1))
        first = self.patterns.shape[1]
        self._patterns = Growing(np.pad(self.patterns, ((0, 0), (0, heights.shape[1]))))
        for unit in range(heights.shape[1]):
            above, cut = cells.cut(start + unit)
            self._patterns.append(self.patterns[cut])
            self.patterns[:, first + unit] = above
            if cells.counts[-1] > self.max_cells:
                self._keep_few()

    def _keep_few(self) -> None:
        """Go on with max_cells patterns only: what they lead to is found, and the rest is missing."""
        kept: Mask = groups(self.patterns)[1] < self.max_cells
        self.complete = self.complete and bool(kept.all())
        self.cells.keep(kept)
        self._patterns = Growing(self.patterns[kept])


def groups(patterns: Mask) -> tuple[Indices, Indices]:
    """Equal rows of bits: the first row of each group, and the group of each row, groups numbered in the order of their first."""
    packed = np.packbits(np.pad(patterns, ((0, 0), (0, 1))), axis=1)
    rows: NDArray[np.void] = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return first[order], rank[group.ravel()]


def box_complex(lower: Floats, upper: Floats) -> Complex:
    """A box and all its faces: each coordinate of a face is at its lower end, at its upper end, or free."""
    d = len(lower)
    number: list[dict[tuple[int, ...], int]] = [{} for _ in range(d + 1)]
    for face in itertools.product((0, 1, 2), repeat=d):
        of_dimension = number[face.count(2)]
        of_dimension[face] = len(of_dimension)
    corners = np.array(
        [[(low, up)[end] for low, up, end in zip(lower, upper, face, strict=True)] for face in number[0]]
    )
    boundaries = []
    for k in range(1, d + 1):
        pairs = [
            (index, number[k - 1][(*face[:axis], end, *face[axis + 1 :])])
            for face, index in number[k].items()
            for axis in range(d)
            if face[axis] == 2
            for end in (0, 1)
        ]
        boundaries.append(np.array(pairs))
    return _complex(corners, np.ones(len(corners)), boundaries)


def whole_space(d: int) -> tuple[Complex, Floats]:
    """R^d as d + 1 cones with one apex, between the directions of a regular simplex; and these directions, (d + 1, d).

    A point's coordinates are its shares in the directions, all but one of the d + 1 positive; two zeros mean that it
    lies on a wall between cones. The directions are turned at random (seed 0), so that no unit is parallel to a wall.
    """
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((d + 1, d + 1)))
    simplex = np.eye(d + 1) - 1 / (d + 1)
    basis = np.linalg.svd(simplex)[2][:d]
    directions = simplex @ basis.T @ turn[:d, :d]
    cells = [(0, *(j for j in range(1, d + 2) if j != left)) for left in range(1, d + 2)]
    boundaries, faces = [], cells
    for _ in range(d):
        smaller = sorted({sub for face in faces for sub in itertools.combinations(face, len(face) - 1)})
        number = {face: index for index, face in enumerate(smaller)}
        pairs = [
            (i, number[sub]) for i, face in enumerate(faces) for sub in itertools.combinations(face, len(face) - 1)
        ]
        boundaries.append(np.array(pairs))
        faces = smaller
    coordinates = np.concatenate([np.zeros((1, d + 1)), np.eye(d + 1)])
    return _complex(coordinates, np.append(1.0, np.zeros(d + 1)), boundaries[::-1]), directions


def _complex(coordinates: Floats, weights: Floats, boundaries: Sequence[Indices]) -> Complex:
    rows = np.concatenate([coordinates, weights[:, None], np.ones((len(coordinates), 1))], axis=1)
    owner, part = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for pairs in boundaries:
        owner.append(pairs[:, 0])
        part.append(pairs[:, 1])
    return Complex(rows, owner, part, weight=coordinates.shape[1])
