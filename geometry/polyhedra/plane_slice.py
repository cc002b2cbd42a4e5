"""The cells that a plane through input space meets, for any piecewise-linear network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geometry.polyhedra._box import Box, bounds
from geometry.polyhedra._cells import Cells, merged_cells
from geometry.polyhedra._complex import TOLERANCE, Indices, Mask
from geometry.polyhedra._network import Symbols, in_double, symbols
from geometry.polyhedra._stages import beside, compared, comparisons, scale
from geometry.polyhedra._subdivision import Subdivision, box_complex

AT_ONCE = 256  # vertices that a network reads together


@dataclass(frozen=True, eq=False)
class PlaneSlice:
    """The cells of a network on a plane: the input at (u, v) is origin + u directions[0] + v directions[1].

    cells: in plane coordinates, with the bits of those units only that change within the slice. units: (n,), which these are
    among all bits of `activation_pattern`.
    """

    cells: Cells
    units: Tensor
    origin: Tensor
    directions: Tensor

    def inputs(self, points: Tensor) -> Tensor:
        """Inputs (n, *S) at plane coordinates (n, 2)."""
        found: Tensor = self.origin + torch.tensordot(points.to(self.origin), self.directions, dims=1)
        return found


def plane_slice(
    network: nn.Module, origin: Tensor, directions: Tensor, *, box: Box = (0.0, 1.0), max_cells: int = 200_000
) -> PlaneSlice:
    """All cells on the part of a plane where both coordinates lie in `box`; a slice of at most max_cells, marked if incomplete.

    origin (*S) and directions (2, *S) in input space; three inputs a, b, c span it with a and (b - a, c - a). Linear,
    convolutional, batch-norm (eval), average- and max-pool, residual and leaky ReLU networks, in float64: the network is
    evaluated at all vertices once a layer, and a vertex is new where a unit's value on an edge is 0. Raises ValueError for
    dependent directions, an empty box, and a module that is not piecewise linear, by name.
    """
    if directions.shape != (2, *origin.shape):
        raise ValueError(
            f"two directions (2, *S) of the origin's shape {tuple(origin.shape)} are needed, not {tuple(directions.shape)}"
        )
    if torch.linalg.matrix_rank(directions.double().flatten(1)) < 2:
        raise ValueError("the two directions are dependent: they span a line; `crossings` finds the cells along it")
    lower, upper = bounds(box, 2)
    subdivision = Subdivision(box_complex(lower, upper), frame=np.eye(2), origin=np.zeros(2), max_cells=max_cells)
    network = in_double(network)
    slicing = _Slicing(network, beside(network, origin), beside(network, directions), subdivision)
    patterns, units = slicing.run()
    return PlaneSlice(merged_cells(subdivision, patterns), torch.from_numpy(units), slicing.origin, slicing.directions)


@dataclass(frozen=True, eq=False)
class _Slicing:
    network: nn.Module
    origin: Tensor
    directions: Tensor
    subdivision: Subdivision

    def run(self) -> tuple[Mask, Indices]:
        """Cut along every unit; the bits (pieces, n) of those that change, and their indices among all units."""
        columns: list[tuple[Symbols, list[_Round]]] = []
        for stage, example in enumerate(symbols(self.network, self.origin[None])[0]):
            rounds = comparisons(example)
            values = self._values(stage, 0)
            found = []
            for number in rounds:
                found.append(self._cut(compared(values, number)))
                if number + 1 in rounds:  # vertices are appended, unless some were given up
                    new = self._values(stage, len(values) if self.subdivision.complete else 0)
                    values = torch.cat([values, new]) if self.subdivision.complete else new
            columns.append((example, found))
        if not columns:
            raise ValueError("the network has no ReLU and no max-pool: its input space is one cell")
        patterns, units, first = [], [], 0
        for example, found in columns:
            of_kind = _winners if example.function == "max_pool" else _bits
            bits, which = of_kind(self.subdivision.patterns, found)
            patterns.append(bits)
            units.append(which + first)
            first += example.bits.shape[1]
        return np.concatenate(patterns, axis=1), np.concatenate(units)

    def _cut(self, values: Tensor) -> _Round:
        """Cut along the units (vertices, units) that change."""
        size, heights = scale(values), values.cpu().numpy()
        above = heights > TOLERANCE * size
        changing = np.flatnonzero(above.any(0) & ~above.all(0))
        first = self.subdivision.patterns.shape[1]
        self.subdivision.cut_heights(heights[:, changing], np.full(len(heights), size))
        return _Round(above[0], changing, first)

    @torch.no_grad()
    def _values(self, stage: int, first: int) -> Tensor:
        """What a stage is given at the vertices from `first` on: (vertices, *units)."""
        points = torch.from_numpy(self.subdivision.inputs[first:]).to(self.origin.device)
        inputs = [self.origin + torch.tensordot(part, self.directions, dims=1) for part in torch.split(points, AT_ONCE)]
        return torch.cat([symbols(self.network, part)[0][stage].values for part in inputs])


@dataclass(frozen=True, eq=False)
class _Round:
    """One comparison of all units or windows: how it ends at one vertex, where it changes, and its first column of bits."""

    constant: Mask
    changing: Indices
    first: int

    def columns(self, patterns: Mask) -> Mask:
        return patterns[:, self.first : self.first + len(self.changing)]


def _bits(patterns: Mask, rounds: list[_Round]) -> tuple[Mask, Indices]:
    return rounds[0].columns(patterns), rounds[0].changing


def _winners(patterns: Mask, rounds: list[_Round]) -> tuple[Mask, Indices]:
    """One bit for each value of the windows that change: the last that exceeded all before it has won."""
    windows = np.unique(np.concatenate([found.changing for found in rounds]))
    winner = np.zeros((len(patterns), len(windows)), np.intp)
    for number, found in enumerate(rounds, start=1):
        exceeds = np.repeat(found.constant[None, windows], len(patterns), axis=0)
        exceeds[:, np.searchsorted(windows, found.changing)] = found.columns(patterns)
        winner[exceeds] = number
    values = len(rounds) + 1
    bits = (winner[:, :, None] == np.arange(values)).reshape(len(patterns), -1)
    units = (windows[:, None] * values + np.arange(values)).ravel()
    changing = bits.any(0) & ~bits.all(0)
    return bits[:, changing], units[changing]
