"""Rectangles of images, one for each input, changed all at once by index arithmetic."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Size, Tensor

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries after which the share of elements is halved


def image_shape(shape: Size) -> tuple[int, int, int]:
    """Channels, height and width of an input's shape; a vector is one row, what goes beyond three axes is flattened."""
    if len(shape) == 1:
        return 1, 1, shape[0]
    channels, *sides = shape
    if len(sides) == 1:
        return channels, 1, sides[0]
    return channels, sides[0], math.prod(sides[1:])


def share(first: float, query: int) -> float:
    """The share of an image's pixels that a square covers (Andriushchenko et al. 2020, section 3.1)."""
    return first * 0.5 ** sum(query > place for place in HALVINGS)


def sides(pixels: float, height: int, width: int, *, odd: bool = False) -> tuple[int, int]:
    """Height and width of a rectangle of about so many pixels that fits: a square where the image lets it.

    odd: at least 3 and odd, where that fits.
    """
    side = round(math.sqrt(pixels))
    if odd:
        side = max(side, 3) + (max(side, 3) % 2 == 0)
    tall = min(max(side, 1), height)
    if height >= side:
        return tall, min(max(side, 1), width)
    return tall, min(max(round(pixels / tall), 1), width)


def places(position: tuple[Tensor, Tensor], size: tuple[int, int], image: tuple[int, int, int]) -> Tensor:
    """Indices into flattened images of a rectangle each, for every channel: (B, C, size).

    position: two uniform numbers (B,) in [0, 1) that choose the corner among all that fit.
    """
    (tall, wide), (channels, height, width) = size, image
    top = (position[0] * (height - tall + 1)).long()
    left = (position[1] * (width - wide + 1)).long()
    device = top.device
    inner = (torch.arange(tall, device=device)[:, None] * width + torch.arange(wide, device=device)).flatten()
    corner = top * width + left
    return (corner[:, None] + inner)[:, None].expand(-1, channels, -1)


@lru_cache(maxsize=64)
def bump(tall: int, wide: int, *, sideways: bool) -> Tensor:
    """Two hills of opposite sign in the halves of a rectangle, of length one together; not to be written to.

    One above, or beside the other. A hill falls in square rings round its middle, by one over the square of their number
    (ibid., section 3.2).
    """
    if tall == wide == 1:
        return torch.ones(1, 1)
    if (sideways and wide > 1) or tall == 1:
        return bump(wide, tall, sideways=False).T
    half = tall // 2
    both = torch.cat([_hill(half, wide), -_hill(tall - half, wide)])
    return both.div_(torch.linalg.vector_norm(both))


def _hill(tall: int, wide: int) -> Tensor:
    rings = max(tall, wide) // 2 + 1
    height = (1 / torch.arange(1, rings + 1).square()).flip(0).cumsum(0).flip(0)
    row, column = torch.arange(tall) - tall // 2, torch.arange(wide) - wide // 2
    hill = height[torch.maximum(row.abs()[:, None], column.abs())]
    return hill.div_(torch.linalg.vector_norm(hill))
