"""How far a network's dissimilarities are from wanted ones: three published ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from geometry.representations._matrix import pair_vector
from geometry.representations.comparison import kernel_alignment, pearson_of_pairs
from geometry.representations.dissimilarity import Measure, dissimilarity_matrix

SHRUNK = 0.99  # of a correlation, before its atanh: that of 1 is infinite
Loss = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]


def atanh(layers: Sequence[Tensor], target: Tensor, weights: Tensor) -> Tensor:
    """Mean over pairs of (atanh r - atanh r')^2, r the correlations of layers (B, F) mixed with weights (L,) that add to 1.

    Source: Li et al. 2019, "Learning from brains how to regularize machines".
    """
    matrices = torch.stack([pair_vector(dissimilarity_matrix(rows)) for rows in layers])
    own, wanted = 1 - weights @ matrices, 1 - pair_vector(target)
    return (torch.atanh(SHRUNK * own) - torch.atanh(SHRUNK * wanted.clamp(-1, 1))).square().mean()


def pearson(layers: Sequence[Tensor], target: Tensor, weights: Tensor) -> Tensor:
    """1 - Pearson correlation of the correlation distances with the wanted ones, weighted mean over layers."""
    wanted = pair_vector(target)
    losses = [1 - pearson_of_pairs(pair_vector(dissimilarity_matrix(rows)), wanted) for rows in layers]
    return weights @ torch.stack(losses)


def cka(layers: Sequence[Tensor], target: Tensor, weights: Tensor) -> Tensor:
    """1 - centred kernel alignment with wanted squared distances, weighted mean over layers.

    Source: Dapello et al. 2023, "Aligning model and macaque inferior temporal cortex representations improves model-to-human
    behavioral alignment and adversarial robustness", there of patterns.
    """
    losses = [1 - kernel_alignment(dissimilarity_matrix(rows, "squared_euclidean"), target) for rows in layers]
    return weights @ torch.stack(losses)


LOSSES: dict[str, Loss] = {"atanh": atanh, "pearson": pearson, "cka": cka}
MEASURES: dict[str, Measure] = {"atanh": "correlation", "pearson": "correlation", "cka": "squared_euclidean"}
