"""What a minimal-norm attack gives back: candidates that the harness confirms after rounding them to its grid."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.types import Draws, View

FACTORS = (
    1.0,
    1.01,
    1.03,
    1.06,
    1.1,
    1.2,
    1.35,
    1.6,
    2.0,
    2.5,
    3.2,
    4.0,
    6.0,
)  # candidates lie at the boundary, so that rounding undoes some


def confirmed(view: View, candidate: Tensor, *, x: Tensor, y: Tensor, found: Tensor, draws: Draws) -> Tensor:
    """The candidates where `found` (B,) bool; those not confirmed are carried further out, else x is restored."""
    result = x.clone()
    rows = found.nonzero()[:, 0]
    for factor in FACTORS:
        if not len(rows):
            break
        centers = x[rows]
        further = candidate[rows] if factor == 1 else torch.lerp(centers, candidate[rows], factor).clamp_(0, 1)
        fooled = view.fooled(further, centers, y[rows], float("inf"), draws[rows])
        result[rows[fooled]] = further[fooled]
        rows = rows[~fooled]
    return result
