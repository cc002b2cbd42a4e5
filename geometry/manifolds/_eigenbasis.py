"""Eigenfunctions of a symmetric kernel matrix's random walk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

Floats = NDArray[np.float64]

SMALLEST = 1e-4  # eigenvalue below which extending an eigenfunction would magnify rounding ten thousandfold
FEW = 600  # points up to which all eigenvalues cost less than some


@dataclass(frozen=True, eq=False)
class Eigenbasis:
    """The greatest eigenvalues (L,) of D^-1 K and their eigenfunctions (N, L), orthonormal in the mean with weights (N,).

    The weights are the row sums of K over their total; the first function is 1 where K is connected.
    """

    eigenvalues: Floats
    functions: Floats
    weights: Floats


def eigenbasis(kernel: Floats | scipy.sparse.csr_matrix, number: int) -> Eigenbasis:
    """The `number` smoothest eigenfunctions of a symmetric kernel (N, N), dense or sparse, signs fixed.

    Raises ValueError unless 2 <= number < N, and where fewer eigenvalues are large enough to be extended to new inputs.
    """
    size = kernel.shape[0]
    if not 2 <= number < size:
        raise ValueError(f"eigenfunctions must be at least 2 and fewer than the {size} points, not {number}")
    degrees = np.asarray(kernel.sum(1), dtype=np.float64).ravel()
    values, vectors = _largest(_normalised(kernel, degrees), number)
    usable = int((values > SMALLEST).sum())
    if usable < number:
        raise ValueError(
            f"only {usable} of {number} eigenfunctions have an eigenvalue above {SMALLEST}; ask for at most {usable}, "
            "or lower neighbors or the bandwidth"
        )
    functions = vectors * np.sqrt(degrees.sum() / degrees)[:, None]
    highest = np.take_along_axis(functions, np.abs(functions).argmax(0)[None], axis=0)
    return Eigenbasis(values, functions * np.sign(highest), degrees / degrees.sum())


def _normalised(kernel: Floats | scipy.sparse.csr_matrix, degrees: Floats) -> Floats | scipy.sparse.csr_matrix:
    root: Floats = 1 / np.sqrt(degrees)
    if isinstance(kernel, np.ndarray):
        return np.asarray(root[:, None] * kernel * root)
    scale = scipy.sparse.diags(root)
    return scipy.sparse.csr_matrix(scale @ kernel @ scale)


def _largest(matrix: Floats | scipy.sparse.csr_matrix, number: int) -> tuple[Floats, Floats]:
    """The largest eigenvalues and their orthonormal vectors, the largest first; the start of the iteration is fixed."""
    size = int(matrix.shape[0])
    if size <= FEW or 4 * number > size:
        dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
        values, vectors = scipy.linalg.eigh(dense, subset_by_index=(size - number, size - 1))
    else:
        start = np.random.default_rng(0).standard_normal(size)
        values, vectors = eigsh(matrix, k=number, which="LA", v0=start, ncv=min(size, 2 * number + 20))
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]
