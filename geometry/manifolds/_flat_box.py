"""A box in the first coordinates of a space, the others held still."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Generator, Tensor

from geometry.manifolds._closed_form import ClosedForm, uniform


def flat_box(dim: int, ambient: int, *, low: float, high: float, height: float) -> ClosedForm:
    """The points whose first dim coordinates lie in [low, high] and whose others are `height`.

    What lies beyond a side is projected on the side; the tangents are the first dim axes everywhere. Raises ValueError
    unless low < high and height is finite.
    """
    if not (isfinite(low) and isfinite(high) and low < high and isfinite(height)):
        raise ValueError(f"low < high and a finite height are needed, not low={low}, high={high}, height={height}")

    def nearest(x: Tensor) -> Tensor:
        inside = x[:, :dim].clamp(low, high)
        return torch.cat([inside, torch.full_like(x[:, dim:], height)], dim=1)

    def tangents(x: Tensor) -> Tensor:
        return torch.eye(ambient, dim, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1)

    def draw(number: int, generator: Generator) -> Tensor:
        inside = low + (high - low) * uniform(number, dim, generator)
        return torch.cat([inside, torch.full_like(inside[:, :1], height).repeat(1, ambient - dim)], dim=1)

    return ClosedForm(dim, ambient, nearest, tangents, draw)
