"""How alike two dissimilarity matrices are: over the pairs above the diagonal, in any leading dimensions.

Each takes matrices (..., N, N) and gives (...,), 1 for matrices of one kind of order. Pearson, cosine and kernel alignment are
differentiable; rank correlations are not. Raises ValueError for what is no dissimilarity matrix, and for other orders.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geometry.representations._matrix import pair_vector, require_matrix, require_same_order

Compare = Callable[[Tensor, Tensor], Tensor]


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation of the pairs."""
    return pearson_of_pairs(*_pairs(first, second))


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of the pairs, ties at their mean rank; in float64."""
    one, two = _pairs(first, second)
    return pearson_of_pairs(ranks(one), ranks(two))


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of the vectors of pairs."""
    one, two = _pairs(first, second)
    return (_unit(one, "zero") * _unit(two, "zero")).sum(-1)


def kendall_tau_a(first: Tensor, second: Tensor) -> Tensor:
    """Kendall's tau-a: concordant less discordant pairs of pairs, ties counting for neither; in O(P log P), float64.

    Source: Nili et al. 2014, which recommends it where a model has tied dissimilarities.
    """
    one, two = _pairs(first, second)
    flat = zip(one.reshape(-1, one.shape[-1]), two.reshape(-1, two.shape[-1]), strict=True)
    found = torch.tensor([tau_a_of_pairs(a, b) for a, b in flat], dtype=torch.float64, device=one.device)
    return found.reshape(one.shape[:-1])


def kernel_alignment(first: Tensor, second: Tensor) -> Tensor:
    """Centred kernel alignment of two matrices of squared Euclidean distances (any, taken for such).

    Kernels are -1/2 H D H; equals linear_cka of the patterns, and the cosine whitened by the pairs' covariance. Source:
    Kornblith et al. 2019; Diedrichsen et al. 2020.
    """
    _require(first, second)
    one, two = (_doubly_centered(matrix) for matrix in (first, second))
    return (_unit(one.flatten(-2), "zero") * _unit(two.flatten(-2), "zero")).sum(-1)


def linear_cka(first: Tensor, second: Tensor) -> Tensor:
    """Centred kernel alignment of patterns (..., N, Fa) and (..., N, Fb) of the same stimuli, with linear kernels.

    Source: Kornblith et al. 2019; the neural loss of Dapello et al. 2022 is 1 less this.
    """
    if first.shape[-2] != second.shape[-2]:
        raise ValueError(f"patterns of {first.shape[-2]} and {second.shape[-2]} stimuli; they must be of the same")
    one, two = (patterns - patterns.mean(-2, keepdim=True) for patterns in (first, second))
    kernels = [rows @ rows.mT for rows in (one, two)]
    return (_unit(kernels[0].flatten(-2), "zero") * _unit(kernels[1].flatten(-2), "zero")).sum(-1)


COMPARISONS: dict[str, Compare] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall_tau_a": kendall_tau_a,
    "cosine": cosine,
    "kernel_alignment": kernel_alignment,
}


def pearson_of_pairs(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation over the last dimension; raises ValueError where all pairs are alike."""
    one, two = (values - values.mean(-1, keepdim=True) for values in (first, second))
    return (_unit(one, "constant", first) * _unit(two, "constant", second)).sum(-1)


def spearman_of_pairs(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation over the last dimension."""
    return pearson_of_pairs(ranks(first), ranks(second))


def tau_a_of_pairs(first: Tensor, second: Tensor) -> float:
    """Kendall's tau-a of two vectors, from scipy's tau-b and the numbers of ties."""
    from scipy.stats import kendalltau

    number = first.numel()
    pairs = number * (number - 1) / 2
    untied = [pairs - _ties(values) for values in (first, second)]
    if not all(untied):
        return 0.0
    tau_b = float(kendalltau(first.detach().cpu().numpy(), second.detach().cpu().numpy()).statistic)
    return tau_b * float((untied[0] * untied[1]) ** 0.5) / pairs


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 on over the last dimension, ties at their mean rank: (..., P) -> (..., P) float64."""
    contiguous = values.detach().contiguous()
    ordered = contiguous.sort(-1).values
    below = torch.searchsorted(ordered, contiguous, right=False)
    upto = torch.searchsorted(ordered, contiguous, right=True)
    return (below + upto + 1).double() / 2


def _ties(values: Tensor) -> float:
    """The number of pairs of equal values."""
    counts = torch.unique(values, return_counts=True)[1].double()
    return float((counts * (counts - 1) / 2).sum())


def _doubly_centered(matrix: Tensor) -> Tensor:
    centered = matrix - matrix.mean(-1, keepdim=True)
    return (centered - centered.mean(-2, keepdim=True)) / -2


def _unit(values: Tensor, what: str, original: Tensor | None = None) -> Tensor:
    """Vectors of length 1 over the last dimension."""
    lengths: Tensor = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    source = values if original is None else original
    largest = source.detach().abs().amax(-1, keepdim=True)
    if bool((lengths.detach() <= 4 * torch.finfo(values.dtype).eps * largest * values.shape[-1] ** 0.5).any()):
        raise ValueError(
            f"all dissimilarities of a matrix are {what}, so that its similarity with another is undefined"
        )
    return values / lengths


def _require(first: Tensor, second: Tensor) -> None:
    require_matrix(first, "the first matrix")
    require_matrix(second, "the second matrix")
    require_same_order(first, second)


def _pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of both, in one dtype and with all leading dimensions."""
    _require(first, second)
    dtype = torch.promote_types(first.dtype, second.dtype)
    one, two = (pair_vector(matrix.to(dtype)) for matrix in (first, second))
    leading = (one[..., 0] + two[..., 0]).shape
    return one.expand(*leading, -1), two.expand(*leading, -1)
