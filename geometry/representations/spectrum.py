"""Fourier features of embeddings: magnitude and phase of the spectrum along the last dimension.

The vectors are real, so that the half spectrum (F // 2 + 1 frequencies) holds everything.
"""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude(x: Tensor, /) -> Tensor:
    """Moduli of the Fourier coefficients: (..., F) -> (..., F // 2 + 1), unchanged by circular shifts of x."""
    coefficients: Tensor = torch.fft.rfft(x)
    return coefficients.abs()


def phase(x: Tensor, /) -> Tensor:
    """Angles of the Fourier coefficients in (-pi, pi]: (..., F) -> (..., F // 2 + 1).

    A coefficient below the rounding error of the transform has no angle: 0 with gradient 0, so that gradients stay
    finite.
    """
    coefficients: Tensor = torch.fft.rfft(x)
    rounding = torch.finfo(x.dtype).eps * x.detach().abs().sum(-1, keepdim=True)
    silent = coefficients.detach().abs() <= rounding
    return torch.atan2(coefficients.imag.masked_fill(silent, 0.0), coefficients.real.masked_fill(silent, 1.0))
