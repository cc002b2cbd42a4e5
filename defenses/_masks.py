"""Masks that hide parts of images, and how denoising fills them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from geometry.manifolds._denoising import Denoiser, Step, ancestral_step, noised
from harness.types import Draws


def checkerboard(height: int, width: int, side: int) -> Tensor:
    """1 on every second square of `side` pixels, the first included: (H, W).

    Raises ValueError where the squares do not divide the image, with the sides that do.
    """
    if side < 1 or height % side or width % side:
        fitting = [size for size in range(1, min(height, width) + 1) if height % size == width % size == 0]
        raise ValueError(
            f"squares of {side} pixels do not divide images of {height}x{width}; take a side of {fitting}, or resize them"
        )
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    return ((rows[:, None] + columns) % 2 == 0).float()


def centre(height: int, width: int) -> Tensor:
    """0 on the middle half of each side, a quarter of the area, 1 around it: (H, W)."""
    mask = torch.ones(height, width)
    mask[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = 0
    return mask


def patches(height: int, width: int, side: int, draws: Draws) -> Tensor:
    """0 on a random half of the squares of `side` pixels, other ones for every input: (B, H, W); raises as `checkerboard`."""
    checkerboard(height, width, side)
    down, across = height // side, width // side
    order = draws.uniform(down * across).argsort(1).argsort(1)
    mask = (order >= down * across // 2).float().view(-1, down, across)
    return mask.repeat_interleave(side, 1).repeat_interleave(side, 2)


def counted(draws: Draws, x: Tensor) -> Callable[[], Tensor]:
    """Standard normal noise of the shape of the inputs (B, *S), new at every call."""
    numbers: Iterator[int] = iter(range(1 << 30))
    return lambda: draws.normal(*x.shape[1:], draw=next(numbers)).to(x)


def filled(
    denoiser: Denoiser, x: Tensor, mask: Tensor, shares: list[float], noise: Callable[[], Tensor], *, rounds: int = 1
) -> Tensor:
    """Images (B, *S) in [-1, 1] whose parts with mask 0 are made anew from noise by DDPM steps between the shares kept.

    After each step the rest is overwritten by the image with as much noise as the step left. rounds > 1 goes each step so many
    times, with noise between, which makes the parts agree (RePaint, with jumps of one step). Each step is computed again on
    the way back. Source: Liu Z. et al. 2024, algorithm 2; Lugmayr et al. 2022, "RePaint".
    """
    z = noise()
    for kept_t, kept_s in pairwise(shares):
        for place in range(rounds):
            fresh, known = noise(), noised(x, noise(), 1.0, kept_s)
            z = mask * known + (1 - mask) * stepped(denoiser, z, kept_s, kept_t, fixed(fresh))
            if place + 1 < rounds:
                z = noised(z, noise(), kept_s, kept_t)
    return z


def fixed(noise: Tensor) -> Step:
    """The DDPM step with this noise and the smaller variance."""
    return ancestral_step(lambda x: noise)


def stepped(denoiser: Denoiser, x: Tensor, kept_s: float, kept_t: float, step: Step) -> Tensor:
    """A step, which holds no memory where gradients are taken but is computed again on the way back."""
    if torch.is_grad_enabled() and x.requires_grad:
        found: Tensor = checkpoint(step, denoiser, x, kept_s, kept_t, use_reentrant=False)
        return found
    return step(denoiser, x, kept_s, kept_t)
