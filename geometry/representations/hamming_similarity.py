"""How alike inputs are by the units that they switch on."""

from __future__ import annotations

import torch
from torch import Tensor

from geometry.polyhedra.hamming_distances import hamming_distances


def hamming_similarity_matrix(bits: Tensor) -> Tensor:
    """1 - (differing bits) / h of activation patterns: booleans (N, h) -> (N, N) float64, 1 on the diagonal.

    It is 1 less a dissimilarity matrix, and may be given to `fiedler_partition` as it is: never negative. Raises ValueError for
    what are no booleans. Source: Jamil et al. 2023, "Hamming similarity and graph Laplacians for class partitioning and
    adversarial image detection".
    """
    if bits.dtype != torch.bool or bits.ndim != 2 or not bits.shape[1]:
        raise ValueError(f"activation patterns (N, h) of booleans are needed, not {bits.dtype} {tuple(bits.shape)}")
    return 1 - hamming_distances(bits, bits).double() / bits.shape[1]
