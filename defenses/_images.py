"""What purifiers and detectors of images share."""

from __future__ import annotations

from torch import Tensor


def sides(x: Tensor, part: str, *, least: int = 1) -> tuple[int, int]:
    """Height and width of images (B, C, H, W); raises ValueError for other inputs and for sides shorter than `least`."""
    if x.ndim != 4 or min(x.shape[-2:]) < least:
        raise ValueError(f"{part} takes images (B, C, H, W) with sides of at least {least}, not {tuple(x.shape)}")
    return x.shape[-2], x.shape[-1]
