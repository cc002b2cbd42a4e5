"""Dissimilarity matrices of activation patterns, a stimulus a row: batched, differentiable, in blocks where they are large.

Distances are sums over features; rsatoolbox divides its (squared) Euclidean, Mahalanobis and crossnobis ones by their number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from geometry.representations._matrix import LEAST
from geometry.representations._memory import available_memory, block_rows, memory_needed, readable

Measure = Literal[
    "correlation", "cosine", "euclidean", "squared_euclidean", "mahalanobis", "squared_mahalanobis"
]  # 1 - Pearson, 1 - cosine, distances and their squares
MEASURES: tuple[Measure, ...] = get_args(Measure)
UNIT = ("correlation", "cosine")  # 1 - products of unit vectors
AT_ONCE = 1024  # more stimuli than that are done in blocks, which need half the products
Read = Callable[[int, int], Tensor]


def dissimilarity_matrix(
    patterns: Tensor,
    measure: Measure = "correlation",
    *,
    precision: Tensor | None = None,
    dtype: torch.dtype | None = None,
    memory: int | None = None,
) -> Tensor:
    """Dissimilarities of all pairs of stimuli: (..., N, F) -> (..., N, N), differentiable, exactly 0 on the diagonal.

    precision (F, F): inverse noise covariance, for Mahalanobis distances. dtype: to compute in (float64 for exact
    answers); that of the patterns if not given. Where no gradient is asked for and the estimate exceeds `memory` bytes (what
    is free, if not given), blocks are streamed. Raises ValueError for constant patterns, NaN, fewer than three stimuli.
    """
    _require_patterns(patterns)
    dtype = dtype or patterns.dtype
    if patterns.ndim == 2 and not (torch.is_grad_enabled() and patterns.requires_grad):
        number, features = patterns.shape
        limit = available_memory() if memory is None else memory
        if number > AT_ONCE or memory_needed(number, features, dtype).total > limit:
            read = partial(_slice, patterns)
            return streamed_dissimilarity(
                read, number, measure, precision=precision, dtype=dtype, memory=limit, device=patterns.device
            )
    _require_finite(patterns, 0)
    rows = patterns.to(dtype)
    if measure not in UNIT:  # distances from the mean, so that a large common part costs no digits
        rows = rows - rows.detach().mean(-2, keepdim=True)
    rows = _prepared(rows, measure, precision, first=0)
    return _without_diagonal(_combined(rows, rows, measure))


def streamed_dissimilarity(
    read: Read,
    number: int,
    measure: Measure = "correlation",
    *,
    precision: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
    out: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """The matrix (N, N) of patterns that need not fit into memory: read(start, stop) gives some rows (B, F).

    memory: bytes that may be used (free memory, if not given). out: where the matrix goes, such as a tensor over a file. Raises
    MemoryError, with the estimate, before anything is computed where `out` is not given and the matrix does not fit.
    """
    limit = available_memory() if memory is None else memory
    if number < LEAST:
        raise ValueError(f"{number} stimuli were given; a dissimilarity matrix needs at least {LEAST}")
    start = read(0, 1)
    features, itemsize = start.shape[1], torch.empty((), dtype=dtype).element_size()
    left_over = limit - (0 if out is not None else number * number * itemsize)
    rows = block_rows(features, itemsize, left_over)
    if rows < 1:
        need = memory_needed(number, features, dtype)
        raise MemoryError(
            f"{number} stimuli of {features} features need {readable(need.matrix)} for the matrix and blocks of "
            f"{readable(4 * features * itemsize)} beside it, but {readable(limit)} may be used; "
            "give `out`, a tensor over a file, or a smaller dtype"
        )
    found = torch.empty(number, number, dtype=dtype, device=device) if out is None else out
    shift = start.to(dtype)
    with torch.no_grad():
        for top in range(0, number, rows):
            left = _block(read, top, min(top + rows, number), measure, precision, shift)
            for side in range(top, number, rows):
                stop = min(side + rows, number)
                right = left if side == top else _block(read, side, stop, measure, precision, shift)
                values = _combined(left, right, measure)
                if side == top:
                    values = _without_diagonal(values)
                found[top : top + len(left), side:stop] = values
                found[side:stop, top : top + len(left)] = values.T
    return found


def crossnobis(folds: Tensor, *, precision: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Cross-validated squared Mahalanobis distances, unbiased by noise that is independent between folds.

    folds (R, N, F): the patterns measured R times; the mean over folds r of the products of differences in r and in the mean
    of the others. (N, N), may be negative. Raises ValueError for fewer than two folds. Source: Walther et al. 2016.
    """
    if folds.ndim != 3 or len(folds) < 2:
        raise ValueError(f"folds (R, N, F) with R of at least 2 are needed, not {tuple(folds.shape)}")
    _require_patterns(folds)
    _require_finite(folds, 0)
    rows = folds.to(dtype or folds.dtype)
    rows = rows - rows.mean((0, 1))
    if precision is not None:
        rows = rows @ _root_of(precision, rows)
    total, number = rows.sum(0), len(rows)
    kernel = (total @ total.T - (rows @ rows.mT).sum(0)) / (number * (number - 1))
    diagonal = kernel.diagonal()
    return _without_diagonal(diagonal[:, None] + diagonal - kernel - kernel.T)


def _slice(patterns: Tensor, start: int, stop: int) -> Tensor:
    return patterns[start:stop]


def _block(read: Read, start: int, stop: int, measure: Measure, precision: Tensor | None, shift: Tensor) -> Tensor:
    """Rows made ready; those of distances less the first stimulus, so that a large common part costs no digits."""
    rows = read(start, stop)
    _require_finite(rows, start)
    rows = rows.to(shift.dtype)
    return _prepared(rows if measure in UNIT else rows - shift, measure, precision, first=start)


def _prepared(rows: Tensor, measure: Measure, precision: Tensor | None, *, first: int) -> Tensor:
    """What products are taken of: unit vectors for correlation and cosine, whitened ones for Mahalanobis."""
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}; known: {', '.join(MEASURES)}")
    if measure == "correlation":
        centered = rows - rows.mean(-1, keepdim=True)
        return centered / _lengths(rows, centered, "constant", first)
    if measure == "cosine":
        return rows / _lengths(rows, rows, "zero", first)
    if not measure.endswith("mahalanobis"):
        return rows
    if precision is None:
        raise ValueError(f"{measure} distances need `precision` (F, F), the inverse of the noise covariance")
    return rows @ _root_of(precision, rows)


def _lengths(rows: Tensor, vectors: Tensor, what: str, first: int) -> Tensor:
    """Lengths (..., N, 1); raises ValueError where one is 0 but for rounding."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    largest = rows.detach().abs().amax(-1, keepdim=True)
    none = lengths.detach() <= 4 * torch.finfo(rows.dtype).eps * largest * rows.shape[-1] ** 0.5
    if bool(none.any()):
        places = none[..., 0].reshape(-1, rows.shape[-2]).any(0).nonzero()[:, 0] + first
        named = ", ".join(str(int(place)) for place in places[:5]) + (", .." if len(places) > 5 else "")
        raise ValueError(
            f"the pattern of stimulus {named} is {what}: its {'correlation' if what == 'constant' else 'cosine'} with "
            "others is undefined; leave the stimulus out, or measure squared_euclidean"
        )
    return lengths


def _root_of(precision: Tensor, rows: Tensor) -> Tensor:
    """L with L L^T = precision; raises ValueError unless that is (F, F), symmetric and positive definite."""
    if precision.shape != (rows.shape[-1],) * 2:
        raise ValueError(f"precision is {tuple(precision.shape)}, but patterns have {rows.shape[-1]} features")
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(precision.to(rows))
    if int(failed) or not torch.allclose(precision, precision.T, rtol=1e-5, atol=1e-8 * float(precision.abs().max())):
        raise ValueError(
            "precision is no symmetric positive definite matrix; shrink the covariance before inverting it"
        )
    return root


def _combined(left: Tensor, right: Tensor, measure: Measure) -> Tensor:
    products = left @ right.mT
    if measure in UNIT:
        return 1 - products
    squares = left.square().sum(-1)[..., :, None] + right.square().sum(-1)[..., None, :] - 2 * products
    squares = squares.clamp_min(0)
    if measure.startswith("squared"):
        return squares
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


def _without_diagonal(matrix: Tensor) -> Tensor:
    return matrix.masked_fill(torch.eye(matrix.shape[-1], dtype=torch.bool, device=matrix.device), 0.0)


def _require_patterns(patterns: Tensor) -> None:
    if patterns.ndim < 2 or not patterns.is_floating_point():
        raise ValueError(f"patterns (..., N, F) of floats are needed, not {patterns.dtype} {tuple(patterns.shape)}")
    if patterns.shape[-2] < LEAST:
        raise ValueError(f"{patterns.shape[-2]} stimuli were given; a dissimilarity matrix needs at least {LEAST}")


def _require_finite(rows: Tensor, first: int) -> None:
    finite = torch.isfinite(rows.detach())
    if bool(finite.all()):
        return
    *_, row, feature = (int(place) for place in (~finite).nonzero()[0])
    count = int((~finite).sum())
    raise ValueError(
        f"{count} values are not finite, the first in stimulus {row + first}, feature (voxel) {feature}; "
        "leave such features out of all patterns"
    )
