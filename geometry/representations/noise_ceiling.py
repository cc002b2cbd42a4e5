"""The noise ceiling: how similar to the subjects' matrices the best model could be, given how they differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.representations._matrix import pair_vector, require_matrix
from geometry.representations.comparison import ranks

COMPARED = ("pearson", "spearman", "cosine")


@dataclass(frozen=True)
class NoiseCeiling:
    """Mean similarity of each subject with the mean of the others (lower), and with the mean of all (upper)."""

    lower: float
    upper: float


def noise_ceiling(subjects: Tensor, compare: str = "spearman") -> NoiseCeiling:
    """The ceiling of matrices (R, N, N) of R subjects or sessions, which are standardised before they are averaged.

    compare: pearson, spearman or cosine, for which the standardised (ranked, scaled) mean is the best model. Raises
    ValueError for fewer than two subjects. Source: Nili et al. 2014, "A toolbox for representational similarity analysis".
    """
    if subjects.ndim != 3 or len(subjects) < 2:
        raise ValueError(f"matrices (R, N, N) of at least two subjects are needed, not {tuple(subjects.shape)}")
    require_matrix(subjects, "a subject's matrix")
    if compare not in COMPARED:
        raise ValueError(f"a noise ceiling is known for {', '.join(COMPARED)}, not for {compare!r}")
    pairs = pair_vector(subjects.double())
    if compare == "spearman":
        pairs = ranks(pairs)
    unit = _unit(pairs, compare)
    kept = pairs if compare == "spearman" else unit  # sums of whole ranks keep their ties
    means = (kept.sum(0) - kept, kept.sum(0).expand_as(kept))
    lower, upper = (
        float((unit * _unit(ranks(m) if compare == "spearman" else m, compare)).sum(1).mean()) for m in means
    )
    return NoiseCeiling(lower, upper)


def _unit(pairs: Tensor, compare: str) -> Tensor:
    """Rows of length 1, centred but for the cosine."""
    rows = pairs if compare == "cosine" else pairs - pairs.mean(1, keepdim=True)
    unit: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return unit
