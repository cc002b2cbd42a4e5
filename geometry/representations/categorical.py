"""Categorical models: a matrix of dissimilarities as a non-negative sum of one matrix a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.representations._matrix import pair_vector, require_matrix, square_matrix
from geometry.representations.comparison import pearson_of_pairs


@dataclass(frozen=True, eq=False)
class CategoricalModel:
    """The fitted weights (K,), the constant, the matrix (N, N) that they make, and its Pearson correlation with the data."""

    weights: Tensor
    constant: float
    matrix: Tensor
    pearson: float


def category_matrix(labels: Tensor) -> Tensor:
    """0 for two stimuli of one category, 1 for others: labels (N,) -> (N, N) float64."""
    different: Tensor = labels[:, None] != labels
    return different.double()


def category_matrices(labels: Tensor) -> Tensor:
    """One matrix a category, 0 for two stimuli inside it, 1 elsewhere but on the diagonal: (N,) -> (K, N, N) float64.

    Source: Pickard et al. 2023, "categorical RDM": the minimum inside a category and the maximum else.
    """
    inside = labels == torch.unique(labels)[:, None]
    matrices = 1.0 - (inside[:, :, None] & inside[:, None, :]).double()
    alone = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return torch.where(alone, 0.0, matrices)


def categorical_model(matrix: Tensor, labels: Tensor, *, constant: bool = False) -> CategoricalModel:
    """The non-negative weights of one matrix a category (and a constant) that fit best, by least squares over pairs."""
    if len(labels) != matrix.shape[-1]:
        raise ValueError(f"{len(labels)} labels for a matrix of {matrix.shape[-1]} stimuli; give one for each")
    return weighted_model(matrix, list(category_matrices(labels)), constant=constant)


def weighted_model(matrix: Tensor, parts: Sequence[Tensor], *, constant: bool = False) -> CategoricalModel:
    """The non-negative sum of matrices (and a constant) nearest to a matrix; in float64.

    Source: Khaligh-Razavi and Kriegeskorte 2014; Lawson and Hanson 1974, chapter 23.
    """
    from scipy.optimize import nnls

    for place, part in enumerate((matrix, *parts)):
        require_matrix(part, f"model matrix {place - 1}" if place else "the matrix")
    target = pair_vector(matrix.double())
    columns = [pair_vector(part.double()) for part in parts]
    if constant:
        columns.append(torch.ones_like(target))
    design = torch.stack(columns, 1)
    weights = torch.as_tensor(nnls(design.cpu().numpy(), target.cpu().numpy())[0]).to(design)
    fitted = design @ weights
    own = weights[: len(parts)]
    offset = float(weights[-1]) if constant else 0.0
    return CategoricalModel(own, offset, square_matrix(fitted), float(pearson_of_pairs(fitted, target)))
