"""Variational autoencoders: divergences against torch.distributions, bounds against exact evidence, grids, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence
from torch.distributions.categorical import Categorical

from geometry.manifolds import _weights
from geometry.manifolds._variational import (
    VariationalNetwork,
    centered_divergence,
    evidence,
    grid_divergence,
    log_likelihood,
    standard_divergence,
)
from geometry.manifolds.grid_vae import GridVAE
from geometry.manifolds.variational_autoencoder import VariationalAutoencoder

BARS = 8


def posterior() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(20, 3, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def bars(number: int = 400) -> SimpleNamespace:
    """Images of a bright half, left or right (the class), of a brightness that varies."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(number) % 2
    x = torch.full((number, 1, BARS, BARS), 0.1)
    bright = 0.5 + 0.4 * torch.rand(number, 1, 1, generator=generator)
    x[y == 0, 0, :, : BARS // 2] = bright[y == 0]
    x[y == 1, 0, :, BARS // 2 :] = bright[y == 1]
    return SimpleNamespace(x=x, y=y)


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    part = VariationalAutoencoder(dim=4, width=8, epochs=1, deviation=0.1)
    data = bars()
    return part, part.fit(data), data


def test_divergences_are_those_of_torch() -> None:
    mean, log_variance = posterior()
    q = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(q, Normal(torch.zeros_like(mean), 1.0)).sum(1)
    torch.testing.assert_close(standard_divergence(mean, log_variance), expected)
    center = torch.full_like(mean, 2.0)
    expected = kl_divergence(q, Normal(center, 0.3)).sum(1)
    torch.testing.assert_close(centered_divergence(mean, log_variance, center, 0.3), expected)


def test_the_nearest_centre_is_a_whole_number_and_is_held_still() -> None:
    mean = torch.tensor([[0.2, 0.9, 7.0]], dtype=torch.float64, requires_grad=True)
    log_variance = torch.full_like(mean, 2 * math.log(0.25))
    expected = torch.tensor([0.2, -0.1, 6.0], dtype=torch.float64)  # offsets from 0, 1 and the last level, 1
    found = grid_divergence(0.25, 2)(mean, log_variance)
    assert float(found.detach()) == pytest.approx(float((expected / 0.25).square().sum() / 2))
    (gradient,) = torch.autograd.grad(found.sum(), mean)
    torch.testing.assert_close(gradient[0], expected / 0.25**2)


def test_the_nearest_centre_bounds_the_mixture_on_the_whole_grid() -> None:
    """In low dimension: KL to the nearest component is KL to the mixture and log K, where components do not overlap."""
    mean = torch.tensor([[0.05], [0.97], [2.1]], dtype=torch.float64)
    deviation, levels = 0.05, 3
    log_variance = torch.full_like(mean, 2 * math.log(deviation))
    centers = Normal(torch.arange(levels, dtype=torch.float64), deviation)
    mixture = MixtureSameFamily(Categorical(torch.ones(levels, dtype=torch.float64)), centers)
    torch.manual_seed(0)
    q = Normal(mean[:, 0], deviation)
    z = q.sample((200_000,))
    against_mixture = (q.log_prob(z) - mixture.log_prob(z)).mean(0)
    nearest = grid_divergence(deviation, levels)(mean, log_variance)
    torch.testing.assert_close(nearest + torch.log(torch.tensor(3.0)), against_mixture, rtol=0, atol=0.02)


def test_likelihood_is_that_of_torch() -> None:
    x, mean = torch.rand(5, 7), torch.rand(5, 7)
    torch.testing.assert_close(log_likelihood(x, mean, 0.3), Independent(Normal(mean, 0.3), 1).log_prob(x))


def test_with_the_exact_posterior_the_bound_is_the_evidence() -> None:
    """A linear decoder, probabilistic principal components: ELBO = log N(x; m, W W^T + s^2 I), Tipping and Bishop 1999."""
    torch.manual_seed(0)
    features, dim, s = 6, 2, 0.3
    weight, center = torch.randn(features, dim, dtype=torch.float64), torch.rand(features, dtype=torch.float64)
    precision = torch.eye(dim, dtype=torch.float64) + weight.T @ weight / s**2
    weight = weight @ torch.linalg.eigh(precision).eigenvectors  # so that the exact posterior has no correlations
    variance = 1 / (1 + weight.square().sum(0) / s**2)

    class Linear(VariationalNetwork):
        def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean = variance * ((x - center) @ weight) / s**2
            return mean, variance.log().expand_as(mean)

        def decode(self, z: Tensor) -> Tensor:
            return center + z @ weight.T

    x = torch.rand(4, features, dtype=torch.float64)
    network = Linear((features,), dim, 4)
    noise = torch.randn(40_000, dim, dtype=torch.float64)
    exact = MultivariateNormal(center, weight @ weight.T + s**2 * torch.eye(features)).log_prob(x)
    for row in range(4):
        many = x[row : row + 1].expand(len(noise), features)
        found = evidence(network, many, noise, deviation=s, divergence=standard_divergence)
        assert float(found.mean()) == pytest.approx(float(exact[row]), abs=0.05)


def test_a_fitted_model_prefers_its_data(fitted) -> None:
    part, state, data = fitted
    manifold = part.load(state)
    noise = torch.rand(100, 1, BARS, BARS, generator=torch.Generator().manual_seed(2))
    assert float(manifold.elbo(data.x[:100]).min()) > float(manifold.elbo(noise).max())
    assert float(manifold.distance(data.x[:50]).median()) < 0.2
    drawn = manifold.sample(64, torch.Generator().manual_seed(3))
    assert drawn.shape == (64, 1, BARS, BARS)
    assert bool(((drawn >= 0) & (drawn <= 1)).all())
    left, right = drawn[..., : BARS // 2].mean((1, 2, 3)), drawn[..., BARS // 2 :].mean((1, 2, 3))
    assert 0.15 < float((left > right).double().mean()) < 0.85  # both classes are drawn


def test_a_state_gives_the_same_manifold_and_the_bound_is_differentiable(fitted) -> None:
    part, state, data = fitted
    x = data.x[:3].clone().requires_grad_()
    first, second = part.load(state), part.load({name: value.clone() for name, value in state.items()})
    noise = torch.randn(3, 4)
    torch.testing.assert_close(first.elbo(x, noise), second.elbo(x, noise))
    (gradient,) = torch.autograd.grad(first.elbo(x, noise).sum(), x)
    step = 1e-3 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    assert bool((first.elbo(x + step, noise) > first.elbo(x, noise)).all())


def test_guided_dimensions_carry_the_class() -> None:
    torch.manual_seed(0)
    data = bars()
    part = GridVAE(dim=3, width=8, epochs=1, attributes=((0,), (1,)), grid_deviation=0.1, deviation=0.2)
    manifold = part.load(part.fit(data))
    code = manifold.posterior(data.x)[0][:, 0]
    assert torch.equal((code > 0.5).long(), data.y)
    z = manifold.posterior(data.x[:1])[
        0
    ]  # bright on the left; the first number moved from 0 to 1 makes it bright on the right
    moved = manifold.decode(torch.cat([torch.ones(1, 1), z[:, 1:]], dim=1))
    assert float(moved[..., BARS // 2 :].mean()) > float(moved[..., : BARS // 2].mean()) + 0.2


@pytest.mark.parametrize("part", [VariationalAutoencoder(), GridVAE()], ids=str)
def test_bad_inputs_are_refused(part) -> None:
    with pytest.raises(ValueError, match="two inputs at least"):
        part.fit(SimpleNamespace(x=torch.rand(1, 1, 8, 8)))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        part.fit(SimpleNamespace(x=2 * torch.rand(9, 1, 8, 8)))
    with pytest.raises(ValueError, match="nan or infinite"):
        part.fit(SimpleNamespace(x=torch.full((9, 1, 8, 8), float("nan"))))


def test_bad_parameters_are_refused(fitted) -> None:
    part, state, data = fitted
    with pytest.raises(ValueError, match="deviation must be a positive"):
        VariationalAutoencoder(deviation=0.0)
    with pytest.raises(ValueError, match="rows of one length"):
        GridVAE(attributes=((0,), (1, 1)))
    with pytest.raises(ValueError, match="attributes are given for 1 classes"):
        GridVAE(attributes=((0,),)).fit(data)
    with pytest.raises(ValueError, match="not those of dim 5"):
        VariationalAutoencoder(dim=5, width=8).load(state)
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="lower learning_rate"):
        VariationalAutoencoder(dim=4, width=8, learning_rate=1e12).fit(data)
    with pytest.raises(ValueError, match=r"\(B, 1, 8, 8\)"):
        part.load(state).elbo(torch.rand(2, 64))


def test_weights_are_read_and_others_refused(fitted, tmp_path, monkeypatch) -> None:
    part, state, data = fitted
    save_file(state, tmp_path / "bars.safetensors")
    read = replace(part, weights=tmp_path / "bars.safetensors").fit(data)
    assert all(torch.equal(read[name], state[name]) for name in state)
    with pytest.raises(ValueError, match="not those of dim 5 and width 8"):
        replace(part, dim=5, weights=tmp_path / "bars.safetensors").fit(data)
    with pytest.raises(ValueError, match="weights are those of inputs"):
        replace(part, weights=tmp_path / "bars.safetensors").fit(SimpleNamespace(x=torch.rand(4, 3)))
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no variational autoencoder's"):
        replace(part, weights=tmp_path / "other.safetensors").fit(data)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        replace(part, weights=tmp_path / "none.safetensors").fit(data)
    with pytest.raises(ValueError, match="a Path or one of"):
        replace(part, weights="shoes").fit(data)
    monkeypatch.setitem(_weights.DIGESTS, "variational_autoencoder_fashion_mnist", "0")
    with pytest.raises(ValueError, match="install the project again"):
        VariationalAutoencoder(weights="fashion_mnist").fit(SimpleNamespace(x=torch.rand(4, 1, 28, 28)))


def test_shipped_weights_have_a_bound_of_images_of_28_pixels() -> None:
    part = VariationalAutoencoder(weights="fashion_mnist")
    model = part.load(part.fit(SimpleNamespace(x=torch.rand(4, 1, 28, 28))))
    assert _weights.shipped("variational_autoencoder", "fashion_mnist").stat().st_size < 2_000_000
    drawn = model.sample(4, torch.Generator().manual_seed(0))
    noise = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    assert float(model.elbo(drawn).min()) > 300
    assert float(model.elbo(noise).max()) < 0
