"""Several people's dissimilarity matrices, not all of the same stimuli, as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geometry.representations._matrix import require_matrix


def mean_over_subjects(matrices: Sequence[Tensor], stimuli: Sequence[Sequence[str]]) -> tuple[Tensor, tuple[str, ...]]:
    """The mean of each pair over those who saw both stimuli: matrices (N_s, N_s) with names each -> (N, N), names.

    Stimuli stand in the order in which they first come. Raises ValueError for pairs that nobody saw, names that repeat or do
    not fit the matrix. Source: Pickard et al. 2023, mean subject, one of whom saw a part of the images only.
    """
    for place, (matrix, names) in enumerate(zip(matrices, stimuli, strict=True)):
        require_matrix(matrix, f"the matrix of subject {place}")
        if len(names) != len(matrix) or len(set(names)) < len(names):
            raise ValueError(f"subject {place} has {len(set(names))} different names for {len(matrix)} stimuli")
    every = tuple(dict.fromkeys(name for names in stimuli for name in names))
    position = {name: number for number, name in enumerate(every)}
    total = torch.zeros(len(every), len(every), dtype=torch.float64)
    seen = torch.zeros_like(total)
    for matrix, names in zip(matrices, stimuli, strict=True):
        places = torch.tensor([position[name] for name in names])
        rows, columns = places[:, None], places[None]
        total[rows, columns] += matrix.double().cpu()
        seen[rows, columns] += 1
    if bool((seen == 0).any()):
        row, column = (int(value) for value in (seen == 0).nonzero()[0])
        raise ValueError(f"nobody saw both {every[row]} and {every[column]}; leave one of them out of all matrices")
    return total / seen, every
