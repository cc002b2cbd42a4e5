"""Magnitude and phase against numpy and the laws of the Fourier transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geometry.representations.spectrum import magnitude, phase


@pytest.fixture(params=[16, 15])
def x(request):
    return torch.randn(4, request.param, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_agrees_with_numpy(x):
    coefficients = np.fft.rfft(x.numpy())
    np.testing.assert_allclose(magnitude(x), np.abs(coefficients), atol=1e-12)
    np.testing.assert_allclose(phase(x), np.angle(coefficients), atol=1e-12)


def test_parseval(x):
    weights = torch.full((x.shape[1] // 2 + 1,), 2.0, dtype=x.dtype)
    weights[0] = 1.0
    if x.shape[1] % 2 == 0:
        weights[-1] = 1.0
    torch.testing.assert_close((weights * magnitude(x) ** 2).sum(-1) / x.shape[1], (x**2).sum(-1))


def test_shifts_change_the_phase_only(x):
    shifted = x.roll(3, dims=-1)
    torch.testing.assert_close(magnitude(shifted), magnitude(x))
    assert (phase(shifted) - phase(x)).abs().max() > 0.1


def test_ends_of_the_spectrum_are_real():
    x = torch.randn(9, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = phase(x)[:, [0, -1]].abs()
    assert torch.all((ends == 0) | ((ends - math.pi).abs() < 1e-12))


def test_gradients_agree_with_finite_differences(x):
    x = x.requires_grad_()
    assert torch.autograd.gradcheck(magnitude, (x,))
    assert torch.autograd.gradcheck(phase, (x,))


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30])
@pytest.mark.parametrize("function", [magnitude, phase])
def test_silent_frequencies_have_finite_gradients(function, value):
    x = torch.full((2, 32), value, requires_grad=True)
    function(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()
