"""The autoencoder removes noise, keeps the class, and shows its latent space."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from defenses.denoising_autoencoder import DenoisingAutoencoder
from harness.draws import CounterDraws
from harness.types import Split

PART = DenoisingAutoencoder()


@pytest.fixture(scope="module")
def state(digits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PART.fit(digits.fit, victim=digits.network)


def test_it_removes_noise_and_keeps_the_class(digits, state):
    """Nearer to the clean image than the noisy one is, and than the mean image."""
    purify, x = PART.load(state, victim=digits.network), digits.test.x
    noisy = (x + PART.noise * CounterDraws("noise", digits.test.index).normal(1, 8, 8)).clamp(0, 1)
    left = (purify(noisy) - x).square().mean()
    assert left < (noisy - x).square().mean()
    assert left < (digits.fit.x.mean(0) - x).square().mean()
    assert (digits.network(purify(x)).argmax(1) == digits.test.y).float().mean() > 0.85


def test_it_decodes_what_it_encodes_into_the_box(digits, state):
    purify, x = PART.load(state, victim=digits.network), digits.test.x
    codes = purify.encode(x)
    assert codes.shape == (len(x), 64)
    assert torch.equal(purify.decode(codes), purify(x))
    far = purify.decode(100 * codes)
    assert far.min() >= 0
    assert far.max() <= 1
    codes.requires_grad_()
    purify.decode(codes).sum().backward()
    assert codes.grad.flatten(1).any(1).all()


def test_fits_repeat_and_states_are_all_there_is(digits, state):
    small = DenoisingAutoencoder(latent=4, width=2, updates=3)
    fits = []
    for _ in range(2):
        torch.manual_seed(1)
        fits.append(small.fit(digits.fit, victim=nn.Identity()))
    assert all(torch.equal(fits[0][name], fits[1][name]) for name in fits[0])
    before = torch.get_rng_state()
    purify = PART.load({name: value.clone() for name, value in state.items()}, victim=nn.Identity())
    assert torch.equal(torch.get_rng_state(), before)
    rows = torch.tensor([5, 3])
    torch.testing.assert_close(purify(digits.test.x[rows]), purify(digits.test.x)[rows])
    assert not any(parameter.requires_grad for parameter in purify.parameters())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6), (2, 28, 31), (1, 1, 1)])
def test_images_of_any_size_keep_their_shape(shape):
    x = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    data = Split(x, torch.zeros(20).long(), torch.arange(20), 2)
    part = DenoisingAutoencoder(latent=3, width=2, updates=1)
    purify = part.load(part.fit(data, victim=nn.Identity()), victim=nn.Identity())
    assert purify(x).shape == x.shape


def test_what_is_no_image_is_refused(digits, state):
    flat = Split(torch.zeros(4, 64), torch.zeros(4).long(), torch.arange(4), 2)
    with pytest.raises(ValueError, match="denoising_autoencoder takes images"):
        PART.fit(flat, victim=digits.network)
    with pytest.raises(ValueError, match="denoising_autoencoder takes images"):
        PART.load(state, victim=digits.network)(flat.x)


@pytest.mark.parametrize(("params", "message"), [({"latent": 0}, "positive latent"), ({"noise": -1.0}, "at least 0")])
def test_senseless_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        DenoisingAutoencoder(**params)
