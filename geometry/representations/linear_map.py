"""Linear maps between two sets of embeddings of the same inputs: least squares, ridge, and how well they fit.

Rows are paired: row i of `source` (N, Fa) and row i of `target` (N, Fb) belong to one input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LinearMap:
    """The map a -> a matrix + offset, with matrix (Fa, Fb) and offset (Fb,)."""

    matrix: Tensor
    offset: Tensor

    def __call__(self, source: Tensor, /) -> Tensor:
        return source @ self.matrix + self.offset


def least_squares_map(source: Tensor, target: Tensor, *, ridge: float = 0.0, affine: bool = True) -> LinearMap:
    """The map that minimises sum ||a_i M + c - b_i||^2 + ridge ||M||^2; c = 0 unless affine, and is never penalised.

    By singular value decomposition; directions below rounding error are dropped, so that with ridge = 0 and fewer
    rows than features, or constant features, it is the solution of least norm. Raises ValueError for unpaired rows.
    """
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target) or not len(source):
        raise ValueError(
            f"paired rows (N, Fa) and (N, Fb) are needed, not {tuple(source.shape)}, {tuple(target.shape)}"
        )
    if ridge < 0:
        raise ValueError(f"ridge must be at least 0, not {ridge}")
    source_mean = source.mean(0) if affine else torch.zeros_like(source[0])
    target_mean = target.mean(0) if affine else torch.zeros_like(target[0])
    left, values, right = torch.linalg.svd(source - source_mean, full_matrices=False)
    kept = values > values[:1] * max(source.shape) * torch.finfo(source.dtype).eps
    gains = torch.where(kept, values / torch.where(kept, values**2 + ridge, 1.0), 0.0)
    matrix = right.T @ (gains[:, None] * (left.T @ (target - target_mean)))
    return LinearMap(matrix, target_mean - source_mean @ matrix)


def mean_squared_error(predicted: Tensor, target: Tensor) -> float:
    """Mean squared difference over rows and features; times the number of features, it is the mean squared distance."""
    return float((predicted - target).square().mean())


def explained_share(predicted: Tensor, target: Tensor) -> float:
    """R^2 over all features together: 1 - sum ||b_i - p_i||^2 / sum ||b_i - mean b||^2.

    It is 1 for a perfect map, 0 for the mean predictor, negative for worse; nan where the target does not vary.
    """
    residual = (predicted - target).square().sum()
    total = (target - target.mean(0)).square().sum()
    return float(1.0 - residual / total) if total > 0 else float("nan")
