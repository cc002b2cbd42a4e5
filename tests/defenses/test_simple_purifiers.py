"""bit_depth, gaussian_blur, gaussian_noise and none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from defenses.bit_depth import BitDepth
from defenses.gaussian_blur import GaussianBlur
from defenses.gaussian_noise import GaussianNoise
from defenses.none import None_
from harness.draws import CounterDraws


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 6, generator=torch.Generator().manual_seed(0))


def test_none_does_nothing():
    assert None_.role == "none"
    assert None_() == None_()


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bit_depth_gives_the_nearest_level(images, bits):
    purify = BitDepth(bits=bits).load({}, victim=torch.nn.Identity())
    levels = torch.linspace(0, 1, 2**bits)
    nearest = levels[(images[..., None] - levels).abs().argmin(-1)]
    torch.testing.assert_close(purify(images), nearest)
    torch.testing.assert_close(purify(purify(images)), purify(images))
    assert purify.surrogate(images) is images


def test_blur_agrees_with_scipy(images):
    purify = GaussianBlur(sigma=0.8, kernel=5).load({}, victim=torch.nn.Identity())
    weights = np.exp(-0.5 * (np.arange(-2, 3) / 0.8) ** 2)
    weights /= weights.sum()
    expected = images.double().numpy()
    for axis in (2, 3):
        expected = correlate1d(expected, weights, axis=axis, mode="mirror")
    torch.testing.assert_close(purify(images.double()).numpy(), expected, rtol=0, atol=1e-6)


def test_blur_keeps_white_white_and_its_gradient():
    purify = GaussianBlur(sigma=1.3, kernel=7).load({}, victim=torch.nn.Identity())
    white = torch.ones(2, 1, 9, 9, requires_grad=True)
    blurred = purify(white)
    assert blurred.max() <= 1
    blurred.sum().backward()
    assert white.grad.sum() == pytest.approx(2 * 81, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 64), (2, 1, 1, 5)])
def test_blur_refuses_what_is_no_image(shape):
    with pytest.raises(ValueError, match="takes images"):
        GaussianBlur().load({}, victim=torch.nn.Identity())(torch.zeros(shape))


def test_noise_has_its_deviation_and_belongs_to_the_input():
    purify = GaussianNoise(std=0.05).load({}, victim=torch.nn.Identity())
    grey = torch.full((64, 1, 16, 16), 0.5)
    draws = CounterDraws("key", torch.arange(64))
    noisy = purify(grey, draws)
    assert (noisy - grey).std() == pytest.approx(0.05, rel=0.03)
    assert (noisy - grey).mean() == pytest.approx(0.0, abs=0.002)
    rows = torch.tensor([5, 3])
    assert torch.equal(purify(grey[rows], draws[rows]), noisy[rows])
    assert not torch.equal(purify(grey, draws.stream(1)), noisy)


def test_noise_stays_in_the_box(images):
    noisy = GaussianNoise(std=1.0).load({}, victim=torch.nn.Identity())(images, CounterDraws("key", torch.arange(5)))
    assert noisy.min() >= 0
    assert noisy.max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BitDepth(bits=0), "1 to 16 bits"),
        (lambda: GaussianBlur(kernel=4), "odd"),
        (lambda: GaussianBlur(sigma=0.0), "positive sigma"),
        (lambda: GaussianNoise(std=-1.0), "at least 0"),
    ],
)
def test_senseless_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
