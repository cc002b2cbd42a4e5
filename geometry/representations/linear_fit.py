"""How good linear maps between embeddings are on rows that they were not fitted to, and of what rank they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.representations.linear_map import (
    LinearMap,
    explained_share,
    least_squares_map,
    mean_squared_error,
)


@dataclass(frozen=True)
class HeldOut:
    """R^2 and mean squared error on held-out rows and on those fitted to, the map's rank, and rows a coefficient.

    rows_per_feature near 1 without a ridge is near interpolation: the error on other rows is then many times the noise's.
    """

    r2: float
    mse: float
    fitted_r2: float
    fitted_mse: float
    rank: int
    effective_rank: float
    rows_per_feature: float


def held_out_fit(
    source: Tensor,
    target: Tensor,
    *,
    ridge: float = 0.0,
    affine: bool = True,
    rank: int | None = None,
    share: float = 0.5,
    seed: int = 0,
) -> HeldOut:
    """Fit a map (of at most `rank`) to a random share of paired rows (N, Fa), (N, Fb), and try it on the others.

    Raises ValueError unless both parts have rows.
    """
    number = round(share * len(source))
    if not 0 < number < len(source):
        raise ValueError(f"a share of {share:g} of {len(source)} rows leaves no rows on one side; give one in between")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed)).to(source.device)
    fit, rest = order[:number], order[number:]
    if rank is None:
        fitted = least_squares_map(source[fit], target[fit], ridge=ridge, affine=affine)
    else:
        fitted = reduced_rank_map(source[fit], target[fit], rank, ridge=ridge, affine=affine)
    inside, outside = ((fitted(source[rows]), target[rows]) for rows in (fit, rest))
    return HeldOut(
        explained_share(*outside),
        mean_squared_error(*outside),
        explained_share(*inside),
        mean_squared_error(*inside),
        map_rank(fitted),
        effective_rank(fitted),
        number / source.shape[1],
    )


def reduced_rank_map(
    source: Tensor, target: Tensor, rank: int, *, ridge: float = 0.0, affine: bool = True
) -> LinearMap:
    """The map of at most `rank` that minimises sum ||a_i M + c - b_i||^2 + ridge ||M||^2.

    Source: Izenman 1975, reduced-rank regression; with a ridge Mukherjee and Zhu 2011. Raises ValueError for rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, not {rank}")
    whole = least_squares_map(source, target, ridge=ridge, affine=affine)
    source_mean = source.mean(0) if affine else torch.zeros_like(source[0])
    target_mean = target.mean(0) if affine else torch.zeros_like(target[0])
    fitted = torch.cat([(source - source_mean) @ whole.matrix, ridge**0.5 * whole.matrix])
    directions = torch.linalg.svd(fitted, full_matrices=False).Vh[:rank]
    matrix = whole.matrix @ directions.T @ directions
    return LinearMap(matrix, target_mean - source_mean @ matrix)


def map_rank(fitted: LinearMap) -> int:
    """The number of singular values above rounding error."""
    values = torch.linalg.svdvals(fitted.matrix)
    return int((values > values.amax() * max(fitted.matrix.shape) * torch.finfo(values.dtype).eps).sum())


def effective_rank(fitted: LinearMap) -> float:
    """exp of the entropy of the singular values taken as shares: between 1 and the rank. Source: Roy and Vetterli 2007."""
    values = torch.linalg.svdvals(fitted.matrix)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum()))
