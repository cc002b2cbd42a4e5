"""Median filters of two and three pixels, by exchanges of the shifted images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def median_filter(x: Tensor, size: int) -> Tensor:
    """The (size^2 // 2 + 1)-th smallest value around each pixel, size 2 or 3, edges repeated: (B, C, H, W), differentiable.

    A window of two reaches up and to the left. A gradient goes in equal parts to the pixels that have the median.
    """
    before, (height, width) = size // 2, x.shape[-2:]
    padded = functional.pad(x, (before, size - 1 - before) * 2, mode="replicate")
    values = [padded[..., i : i + height, j : j + width] for i in range(size) for j in range(size)]
    with torch.no_grad():
        median = _upper_of_four(*values) if size == 2 else _of_nine(values)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return median
    around = torch.stack(values)
    has_it = around.detach() == median
    share = (around * (has_it / has_it.sum(0))).sum(0)
    return median + (share - share.detach())


def _upper_of_four(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The third smallest: the largest of the smaller ones of two pairs, or the smaller of their larger ones."""
    smaller = torch.maximum(torch.minimum(a, b), torch.minimum(c, d))
    return torch.maximum(smaller, torch.minimum(torch.maximum(a, b), torch.maximum(c, d)))


def _of_three(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def _of_nine(values: list[Tensor]) -> Tensor:
    """The median of the largest minimum, the middle median and the smallest maximum of three triples."""
    triples = [values[i : i + 3] for i in (0, 3, 6)]
    low = [torch.minimum(torch.minimum(a, b), c) for a, b, c in triples]
    high = [torch.maximum(torch.maximum(a, b), c) for a, b, c in triples]
    middle = _of_three(*(_of_three(a, b, c) for a, b, c in triples))
    largest = torch.maximum(torch.maximum(low[0], low[1]), low[2])
    smallest = torch.minimum(torch.minimum(high[0], high[1]), high[2])
    return _of_three(largest, middle, smallest)
