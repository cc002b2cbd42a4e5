"""What a dissimilarity matrix must be, and its pairs."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 3  # stimuli: two have one pair, and one number correlates with nothing
ROUNDING = 1e-5  # relative; what float32 leaves of symmetry and of a zero diagonal


def pair_vector(matrix: Tensor) -> Tensor:
    """The entries above the diagonal, row by row: (..., N, N) -> (..., N (N - 1) / 2)."""
    row, column = pair_indices(matrix.shape[-1], matrix.device)
    return matrix[..., row, column]


def pair_indices(number: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pairs i < j, in the order of `pair_vector` and of scipy's condensed matrices."""
    row, column = torch.triu_indices(number, number, 1, device=device)
    return row, column


def square_matrix(pairs: Tensor) -> Tensor:
    """The symmetric matrix with a zero diagonal of a vector of pairs: (..., P) -> (..., N, N)."""
    number = round((1 + (1 + 8 * pairs.shape[-1]) ** 0.5) / 2)
    if number * (number - 1) // 2 != pairs.shape[-1]:
        raise ValueError(f"{pairs.shape[-1]} pairs are those of no number of stimuli; N (N - 1) / 2 are needed")
    row, column = pair_indices(number, pairs.device)
    matrix = pairs.new_zeros(*pairs.shape[:-1], number, number)
    matrix[..., row, column] = pairs
    return matrix + matrix.mT


def require_matrix(matrix: Tensor, name: str = "the matrix") -> None:
    """Raise ValueError unless (..., N, N) is finite and symmetric, has a zero diagonal and at least three stimuli."""
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"{name} has the shape {tuple(matrix.shape)}; a dissimilarity matrix (..., N, N) is needed")
    if matrix.shape[-1] < LEAST:
        raise ValueError(f"{name} is of {matrix.shape[-1]} stimuli; at least {LEAST} are needed")
    values = matrix.detach()
    if not bool(torch.isfinite(values).all()):
        *_, row, column = (int(place) for place in (~torch.isfinite(values)).nonzero()[0])
        raise ValueError(f"{name} is not finite between the stimuli {row} and {column}; leave one of them out")
    allowed = ROUNDING * float(values.abs().max())
    diagonal = values.diagonal(dim1=-2, dim2=-1).abs()
    if float(diagonal.max()) > allowed:
        place = int(diagonal.reshape(-1, values.shape[-1]).amax(0).argmax())
        raise ValueError(
            f"{name} has {float(diagonal.max()):.3g} on its diagonal (stimulus {place}); a stimulus is 0 from itself: "
            "give dissimilarities, not similarities"
        )
    gap = (values - values.mT).abs()
    if float(gap.max()) > allowed:
        *_, row, column = (int(place) for place in (gap == gap.max()).nonzero()[0])
        raise ValueError(
            f"{name} is not symmetric: the stimuli {row} and {column} differ by {float(gap.max()):.3g} between its "
            "halves; give (matrix + matrix.mT) / 2 if that is meant"
        )


def require_same_order(first: Tensor, second: Tensor) -> None:
    """Raise ValueError unless both matrices are of as many stimuli."""
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"the matrices are of {first.shape[-1]} and {second.shape[-1]} stimuli; they must be of the same, in one order"
        )
