"""Purification by noise and denoising, with exact denoisers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from defenses.diffusion_purification import DiffusionPurification
from geometry.manifolds._denoising import gaussian_denoiser, kept_at
from harness.draws import CounterDraws


class Exact:
    def __init__(self, spread: Tensor) -> None:
        self.noise = gaussian_denoiser(spread)


def loaded(spread: Tensor, **params: object):
    return DiffusionPurification(**params).load({}, victim=nn.Identity(), model=Exact(spread))  # type: ignore[arg-type]


def draws(number: int) -> CounterDraws:
    return CounterDraws("test", torch.arange(number))


def test_what_is_off_the_data_is_removed_and_the_rest_kept() -> None:
    """Data that vary in two of four coordinates, wide against the noise."""
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    found = loaded(torch.tensor([9.0, 9.0, 0.0, 0.0]), time=0.1, steps=20)(x, draws(200))
    torch.testing.assert_close(found[:, 2:], torch.full((200, 2), 0.5), atol=0.03, rtol=0)
    kept = kept_at(0.1)
    spread = math.sqrt(1 / kept - 1) / 2
    inner = (x[:, :2] > 0.3) & (x[:, :2] < 0.7)
    assert (found[:, :2] - x[:, :2])[inner].std() == pytest.approx(spread, rel=0.2)
    assert found.min() >= 0
    assert found.max() <= 1


def test_all_noise_makes_the_same_of_every_input() -> None:
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    part = loaded(torch.full((4,), 0.2), time=1.0, steps=30)
    torch.testing.assert_close(part(x, draws(5)), part(1 - x, draws(5)), atol=0.02, rtol=0)
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(part(x[rows], draws(5)[rows]), part(x, draws(5))[rows])


def test_gradients_are_exact_or_those_of_fewer_steps() -> None:
    x = (0.4 + 0.2 * torch.rand(3, 4, generator=torch.Generator().manual_seed(0))).double().requires_grad_()
    part = loaded(torch.full((4,), 0.2), time=0.05)
    assert torch.autograd.gradcheck(lambda z: part(z, draws(3)), x)
    assert not hasattr(part, "surrogate")
    short = loaded(torch.full((4,), 0.2), time=0.05, surrogate_steps=1)
    assert short.surrogate(x).shape == x.shape
    assert short.surrogate(x).requires_grad


def test_bad_parameters_and_models_are_refused() -> None:
    for params, message in (({"time": 0.0}, "time in"), ({"steps": 0}, "one step")):
        with pytest.raises(ValueError, match=message):
            DiffusionPurification(**params)
    with pytest.raises(TypeError, match="such as diffusion"):
        DiffusionPurification().load({}, victim=nn.Identity(), model=object())  # type: ignore[arg-type]


def test_inputs_that_are_not_the_models_are_refused() -> None:
    class Shaped(Exact):
        shape = (1, 8, 8)

    part = DiffusionPurification().load({}, victim=nn.Identity(), model=Shaped(torch.ones(1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"one of inputs \(1, 8, 8\), not \(3, 8, 8\)"):
        part(torch.rand(2, 3, 8, 8), draws(2))
    with pytest.raises(ValueError, match="divide grey levels"):
        part(255 * torch.rand(2, 1, 8, 8), draws(2))
