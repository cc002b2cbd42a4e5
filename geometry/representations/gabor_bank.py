"""Energies of a bank of Gabor filters, as complex cells of primary visual cortex have them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

WAVELENGTHS = (4.0, 8.0)  # pixels
ORIENTATIONS = 8
ASPECT = 0.5  # how much longer than wide a filter's envelope is: width / length
BANDWIDTH = 0.56  # of the envelope's deviation to the wavelength: about one octave


def gabor_energies(
    x: Tensor, *, wavelengths: Sequence[float] = WAVELENGTHS, orientations: int = ORIENTATIONS
) -> Tensor:
    """sqrt(even^2 + odd^2) of each filter on a grid of half its wavelength: images (B, C, H, W) -> (B, F).

    Channels are averaged; filters have no mean and unit length, so that a uniform image gives 0. Raises ValueError for inputs
    that are no images or smaller than the longest wavelength. Source: Jones and Palmer 1987; Adelson and Bergen 1985.
    """
    if x.ndim != 4:
        raise ValueError(f"Gabor filters need images (B, C, H, W), but the inputs are {tuple(x.shape[1:])}")
    side = min(x.shape[2:])
    fitting = [length for length in wavelengths if length <= side]
    if not fitting:
        raise ValueError(
            f"images of {side} pixels hold no wave of {min(wavelengths):g} pixels; give shorter wavelengths"
        )
    grey = x.mean(1, keepdim=True)
    return torch.cat([_energies(grey, length, orientations).flatten(1) for length in fitting], 1)


def gabor_filters(wavelength: float, orientations: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd filters (orientations, 1, K, K)."""
    deviation = BANDWIDTH * wavelength
    reach = math.ceil(2 * deviation / ASPECT)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = math.pi * torch.arange(orientations, dtype=torch.float64)[:, None, None] / orientations
    across, along = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    envelope = torch.exp(-(across**2 + (ASPECT * along) ** 2) / (2 * deviation**2))
    even, odd = (envelope * wave(2 * math.pi * across / wavelength) for wave in (torch.cos, torch.sin))
    even = even - envelope * (even.sum((1, 2), keepdim=True) / envelope.sum((1, 2), keepdim=True))
    pair = (f / f.square().sum((1, 2), keepdim=True).sqrt() for f in (even, odd))
    one, two = (f[:, None].to(like) for f in pair)
    return one, two


def _energies(grey: Tensor, wavelength: float, orientations: int) -> Tensor:
    even, odd = gabor_filters(wavelength, orientations, grey)
    reach, stride = even.shape[-1] // 2, max(1, round(wavelength / 2))
    padded = functional.pad(grey, (reach,) * 4, mode="replicate")
    squares = sum((functional.conv2d(padded, f, stride=stride).square() for f in (even, odd)), torch.zeros(()).to(grey))
    positive = squares > 1e-12  # a square root's slope at 0 is infinite
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
