"""Halfspaces made ready for linear programs: unit rows seen from a point, in as few dimensions as their rows span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geometry.polyhedra.halfspaces import EmptyCell, Halfspaces

Floats = NDArray[np.float64]

ZERO = 1e-13  # a row is zero below this share of the longest
RANK = 1e-12  # so is a singular value
BEYOND = 1e-10  # a unit row has no part outside a space below this
STEEP = 1e-3  # and are good coordinates where their singular values are above this
SPARSE = 1e-13  # a coordinate is zero below this share of its row's largest
INDEPENDENT = 1e-6  # unit rows are so where each has this much outside the space of those before


@dataclass(frozen=True, eq=False)
class UnitRows:
    """{y: rows y <= slack} with unit rows (n, d), seen from origin (d,): x = origin + y; kept (n,): their places among all."""

    rows: Floats
    slack: Floats
    origin: Floats
    kept: NDArray[np.intp]


def unit_rows(cell: Halfspaces) -> UnitRows:
    """The rows that are not zero; raises EmptyCell where a zero row is violated, ValueError for what is not finite."""
    normals, offsets = cell.normals.detach().cpu().double().numpy(), cell.offsets.detach().cpu().double().numpy()
    if not (np.isfinite(normals).all() and np.isfinite(offsets).all()):
        raise ValueError("the halfspaces hold NaN or infinite values; a cell is defined by finite rows only")
    norms = np.linalg.norm(normals, axis=1)
    positive = norms > ZERO * norms.max(initial=0.0)
    if (offsets[~positive] < -ZERO * max(1.0, float(np.abs(offsets).max(initial=0.0)))).any():
        row = int(np.flatnonzero(~positive)[np.argmin(offsets[~positive])])
        raise EmptyCell(
            f"the cell is empty: unit {row} does not depend on the input and never has the bit of this pattern"
        )
    origin = np.zeros(normals.shape[1]) if cell.point is None else cell.point.detach().cpu().double().numpy()
    rows = normals[positive] / norms[positive, None]
    return UnitRows(rows, offsets[positive] / norms[positive] - rows @ origin, origin, np.flatnonzero(positive))


def row_space(cell: Halfspaces, unit: UnitRows) -> Floats:
    """An orthonormal basis (d, k) of the space that the rows span: of the first layer's rows, where they span them all."""
    first = unit.kept < cell.first if cell.first else np.ones(len(unit.kept), dtype=bool)
    basis = _basis(unit.rows[first])
    probes = np.random.default_rng(0).standard_normal((basis.shape[0], 4))
    probes -= basis @ (basis.T @ probes)
    return basis if np.abs(unit.rows @ probes).max(initial=0.0) < BEYOND else _basis(unit.rows)


def _basis(rows: Floats) -> Floats:
    """By QR where the rows are clearly independent, otherwise by singular values."""
    if len(rows) <= rows.shape[1]:
        basis, triangle = np.linalg.qr(rows.T)
        if np.abs(np.diagonal(triangle)).min(initial=1.0) > INDEPENDENT:
            return basis
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    return np.ascontiguousarray(right[values > RANK * values.max(initial=0.0)].T)


def sheared(rows: Floats) -> tuple[Floats, Floats]:
    """Rows (n, k) in other coordinates, and the matrix (k, k) back: in those of the first layer, where it has k units.

    The first k rows become unit vectors there, and a row of the second layer has a zero for each unit that is off, which
    makes the linear programs sparse. Where the first k rows are dependent or nearly so, all stays as it is.
    """
    k = rows.shape[1]
    if len(rows) >= k and np.linalg.matrix_rank(rows[:k], tol=STEEP) == k:
        back: Floats = np.linalg.inv(rows[:k]).astype(np.float64)
        other = rows @ back
        other[np.abs(other) < SPARSE * np.abs(other).max(1, keepdims=True)] = 0.0
        other[:k] = np.eye(k)
        return other, back
    same: Floats = np.eye(k)
    return rows, same


def planes(unit: UnitRows, tolerance: float = 1e-10) -> NDArray[np.intp]:
    """For each row the first that is equal to it within the tolerance, (n,); of a slack above 1 the relative error counts."""
    table = np.column_stack([unit.rows, np.arcsinh(unit.slack)])
    key = table @ np.random.default_rng(0).standard_normal(table.shape[1])
    order = np.argsort(key, kind="stable")
    reach = tolerance * 10.0 * np.sqrt(table.shape[1])
    first = np.arange(len(table))
    for place, row in enumerate(order):
        before = place - 1
        while before >= 0 and key[row] - key[order[before]] <= reach:
            other = first[order[before]]
            if np.abs(table[row] - table[other]).max() <= tolerance:
                first[row] = other
                break
            before -= 1
    smallest = np.full(len(table), len(table))
    np.minimum.at(smallest, first, np.arange(len(table)))
    return smallest[first]
