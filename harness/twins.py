"""Images beside images: each turned, shifted, scaled and made a little lighter or darker, by random numbers of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from harness.draws import CounterDraws

TURN, SHIFT, SCALE, GAMMA = 6.0, 0.05, 0.05, 0.1  # degrees, shares of the side, factor, exponent; at most, either way


def twins_of(x: Tensor, draws: CounterDraws, levels: int | None) -> Tensor:
    """Images (B, C, H, W) in [0, 1] beside the given ones, on the data's grid; inputs that are no images as they are."""
    if x.ndim != 4:
        return x
    drawn = (2 * draws.uniform(5) - 1).to(x)
    angle, size, brightness = math.radians(TURN) * drawn[:, 0], 1 + SCALE * drawn[:, 1], 1 + GAMMA * drawn[:, 4]
    cosine, sine, shift = angle.cos() * size, angle.sin() * size, 2 * SHIFT * drawn[:, 2:4]
    rows = (torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1))
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    turned = grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)
    found = turned ** brightness.view(-1, 1, 1, 1)
    return found if levels is None else (found * levels).round() / levels
