"""How many dimensions the data seem to have."""

from __future__ import annotations

import torch
from torch import Tensor


def likeliest_dimension(distances: Tensor) -> float:
    """The dimension of greatest likelihood, from each point's distances to its k nearest others (N, k), the nearest first.

    Inverse of the mean over points and neighbours of log(T_k / T_j), copies left out: Levina & Bickel 2004, equation (8),
    averaged over points as inverses (MacKay & Ghahramani 2005). Noise that is wider than the neighbourhoods counts as
    dimensions.
    """
    farthest, nearer = distances[:, -1:], distances[:, :-1]
    kept = nearer > 0
    logarithms = torch.where(kept, (farthest / torch.where(kept, nearer, 1.0)).log(), 0.0)
    total = float(logarithms.sum())
    return float(kept.sum()) / total if total > 0 else 1.0


def require_dimension(dim: int, most: int, reason: str) -> int:
    """The dimension, if it lies between 1 and the most there can be; else ValueError with the reason."""
    if not 1 <= dim <= most:
        raise ValueError(f"dim must be between 1 and {most}, because {reason}; {dim} was given")
    return dim
