"""Denoising diffusion: exact denoisers of normal data against closed forms and diffusers, the trained model, bad input."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from geometry.manifolds import _weights, diffusion
from geometry.manifolds._denoised import DenoisedManifold
from geometry.manifolds._denoising import (
    ancestral_step,
    clean,
    ddim_step,
    gaussian_denoiser,
    kept_at,
    levels,
    mean,
    noised,
    runge_kutta_step,
    time_of,
    variance,
    walk,
)
from geometry.manifolds._denoising_density import chain_log_density, flow_log_density
from geometry.manifolds.diffusion import Diffusion


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_times_and_shares_kept_are_inverse() -> None:
    times = torch.tensor([0.0, 1e-4, 0.1, 0.5, 1.0], dtype=torch.float64)
    kept = torch.tensor([kept_at(time) for time in times.tolist()], dtype=torch.float64)
    torch.testing.assert_close(time_of(kept), times)
    assert levels(1.0, 4)[-1] == 1.0
    with pytest.raises(ValueError, match="from a time in"):
        levels(1.5, 4)


def test_posterior_mean_is_that_of_diffusers() -> None:
    """Equation 18 with s = t - 1 against the DDPM scheduler, which counts in float32 and has the smaller variance too."""
    from diffusers import DDPMScheduler

    shares = levels(1.0, 1000)[::-1]
    betas = [1 - later / before for before, later in pairwise(shares)]
    scheduler = DDPMScheduler(trained_betas=betas, clip_sample=False, variance_type="fixed_small")
    x, noise = normal(5, 3), normal(5, 3, seed=1)
    for t in (1, 10, 500, 999):
        kept_s, kept_t = shares[t], shares[t + 1]
        torch.manual_seed(0)
        given = scheduler.step(noise, t, x)
        torch.manual_seed(0)
        fresh = torch.randn(x.shape, dtype=torch.float64)
        found = ancestral_step(lambda _, fresh=fresh: fresh)(lambda *_: noise, x, kept_s, kept_t)
        torch.testing.assert_close(found, given.prev_sample, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(clean(x, noise, kept_t), given.pred_original_sample, atol=1e-3, rtol=1e-3)


def test_noise_in_two_parts_is_noise_at_once() -> None:
    x = normal(4, 2)
    kept_s, kept_u, kept_t = 0.9, 0.6, 0.2
    once = noised(x, torch.zeros_like(x), kept_s, kept_t)
    twice = noised(noised(x, torch.zeros_like(x), kept_s, kept_u), torch.zeros_like(x), kept_u, kept_t)
    torch.testing.assert_close(once, twice)
    spread = (1 - kept_u / kept_s) * kept_t / kept_u + 1 - kept_t / kept_u
    assert spread == pytest.approx(1 - kept_t / kept_s)


@pytest.mark.parametrize("v", [0.0, 0.25, 1.0, 3.0])
def test_mean_and_variance_are_those_of_normal_data(v: float) -> None:
    """Against conditioning of the joint normal distribution of x_s and x_t, for a long step."""
    kept_s, kept_t = 0.8, 0.1
    before, after = kept_s * v + 1 - kept_s, kept_t * v + 1 - kept_t
    common = math.sqrt(kept_t / kept_s) * before
    x = normal(6, 1)
    noise = gaussian_denoiser(torch.tensor([v], dtype=torch.float64))(x, kept_t)
    torch.testing.assert_close(mean(x, noise, kept_s, kept_t), common / after * x)
    assert variance(kept_s, kept_t, v) == pytest.approx(before - common**2 / after)
    assert variance(kept_s, kept_t, 1.0) == pytest.approx(1 - kept_t / kept_s)


@pytest.mark.parametrize("stride", [1, 10, 50])
@pytest.mark.parametrize("v", [0.25, 1.0, 2.0])
def test_chain_ratios_are_exact_for_normal_data_at_any_stride(v: float, stride: int) -> None:
    x, shares = normal(40, 1), levels(1.0, 1000 // stride)
    noises = normal(len(shares) - 1, 40, 1, seed=1)
    denoiser = gaussian_denoiser(torch.tensor([v], dtype=torch.float64))
    true = Normal(0.0, math.sqrt(v)).log_prob(x).sum(1)
    found = chain_log_density(denoiser, x, shares, noises, spread=v)
    assert (found - true).abs().mean() < 1e-4  # what is left is the prior at time 1, of variance 1 + 4e-5 (v - 1)
    assert (found - found.mean() - true + true.mean()).std() < 1e-4
    wrong = chain_log_density(denoiser, x, shares, noises, spread=1.0)
    assert ((wrong - true).std() < 1e-4) == (v == 1.0)


def test_chain_ratios_without_variance_are_refused() -> None:
    with pytest.raises(ValueError, match="no variance"):
        chain_log_density(
            gaussian_denoiser(torch.ones(1)), torch.ones(2, 1), levels(1.0, 3), normal(3, 2, 1), spread=0.0
        )


def test_flow_gives_the_density_of_correlated_data() -> None:
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    x = normal(30, 2) @ torch.linalg.cholesky(covariance).mT
    probes = math.sqrt(2) * torch.eye(2, dtype=torch.float64)[:, None].expand(2, 30, 2)
    true = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance).log_prob(x)
    found = flow_log_density(gaussian_denoiser(covariance), x, levels(1.0, 100), probes)
    assert (found - true).abs().max() < 1e-3
    signs = normal(100, 1, 2, seed=2).sign().expand(100, 30, 2)
    estimated = flow_log_density(gaussian_denoiser(covariance), x, levels(1.0, 20), signs)
    assert (estimated - true).abs().mean() < 0.25


def test_steps_have_their_orders() -> None:
    """From deviation 5 in equal steps: DDIM's error halves with the step, that of Runge-Kutta falls 16-fold or more."""
    v, kept = 0.25, 1 / 26
    denoiser, x = gaussian_denoiser(torch.tensor([v], dtype=torch.float64)), normal(100, 1)
    exact = math.sqrt(v / (kept * v + 1 - kept)) * x
    errors: dict[str, list[float]] = {"ddim": [], "rk": []}
    for number in (10, 20, 40):
        shares = [1 / (1 + (5 * (1 - place / number)) ** 2) for place in range(number + 1)]
        for name, step in (("ddim", ddim_step), ("rk", runge_kutta_step)):
            errors[name].append(float((walk(denoiser, x, shares, step) - exact).abs().mean()))
    assert [errors["ddim"][i] / errors["ddim"][i + 1] for i in (0, 1)] == pytest.approx([2, 2], abs=0.3)
    assert all(16 < errors["rk"][i] / errors["rk"][i + 1] < 30 for i in (0, 1))
    assert errors["rk"][0] < errors["ddim"][2]  # at equal evaluations


class _Exact(torch.nn.Module):
    """The exact denoiser of normal data about 0 in [-1, 1] that varies in two directions."""

    def __init__(self, variances: Tensor) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(()))
        self.denoiser = gaussian_denoiser(variances)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        return self.denoiser(x, float(kept[0]))


def test_exact_denoiser_projects_and_knows_its_tangents() -> None:
    variances = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0])
    manifold = DenoisedManifold(_Exact(variances), (5,), 2, 0.05, 3)  # type: ignore[arg-type]
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    projected = manifold.project(x)
    torch.testing.assert_close(projected[:, 2:], torch.full((8, 3), 0.5))
    torch.testing.assert_close(projected[:, :2], x[:, :2], atol=0.05, rtol=0)
    basis = manifold.tangent_basis(x)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(2).expand(8, 2, 2), atol=1e-5, rtol=0)
    assert basis[:, 2:].abs().max() < 1e-3


def test_log_density_counts_in_units_of_the_box() -> None:
    manifold = DenoisedManifold(_Exact(torch.full((2,), 0.25)), (2,), 2, 0.05, 1)  # type: ignore[arg-type]
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    probes = math.sqrt(2) * torch.eye(2)[:, None].expand(2, 5, 2)
    true = Normal(0.5, 0.25).log_prob(x).sum(1)
    torch.testing.assert_close(manifold.log_density(x, probes, steps=60), true, atol=1e-2, rtol=0)


def bars(number: int = 200) -> SimpleNamespace:
    """Images of a bright half of a brightness that varies, left or right."""
    generator = torch.Generator().manual_seed(1)
    x = torch.full((number, 1, 6, 8), 0.1)
    bright = 0.5 + 0.4 * torch.rand(number, 1, 1, generator=generator)
    x[::2, 0, :, :4], x[1::2, 0, :, 4:] = bright[::2], bright[1::2]
    return SimpleNamespace(x=x)


PART = Diffusion(dim=3, width=16, epochs=1, learning_rate=1e-2)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "LEAST_UPDATES", 150)
        torch.manual_seed(0)
        return PART.fit(bars())


def test_trained_model_removes_noise_and_draws_what_it_saw(state: dict[str, Tensor]) -> None:
    manifold, x = PART.load(state), bars().x
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert (manifold.project(noisy) - x).square().mean() < 0.7 * (noisy - x).square().mean()
    drawn = manifold.sample(40, torch.Generator().manual_seed(0))
    nearest = torch.cdist(drawn.flatten(1), x.flatten(1)).amin(1)
    anything = torch.cdist(torch.rand(40, 48), x.flatten(1)).amin(1)
    assert nearest.mean() < 0.5 * anything.mean()
    torch.testing.assert_close(manifold.project(x)[3:5], manifold.project(x[3:5]))
    assert manifold.tangent_basis(x[:0]).shape == (0, 48, 3)


def test_points_that_are_no_images_are_modelled() -> None:
    angle = torch.linspace(0, 6.28, 300)
    data = SimpleNamespace(x=0.5 + 0.3 * torch.stack([angle.cos(), angle.sin()], 1))
    torch.manual_seed(0)
    part = Diffusion(dim=1, width=32, batch_size=300, epochs=1000, learning_rate=1e-2)
    manifold = part.load(part.fit(data))
    radius = (manifold.sample(200, torch.Generator().manual_seed(0)) - 0.5).norm(dim=1)
    assert (radius - 0.3).abs().mean() < 0.06


def test_weights_are_read_and_others_refused(state, tmp_path, monkeypatch) -> None:
    save_file(state, tmp_path / "bars.safetensors")
    part = Diffusion(dim=3, weights=tmp_path / "bars.safetensors")
    read = part.fit(bars())
    assert all(torch.equal(read[name], state[name]) for name in state)
    with pytest.raises(ValueError, match="weights are those of inputs"):
        part.fit(SimpleNamespace(x=torch.rand(4, 1, 8, 8)))
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no diffusion model's"):
        Diffusion(weights=tmp_path / "other.safetensors").fit(bars())
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Diffusion(weights=tmp_path / "none.safetensors").fit(bars())
    with pytest.raises(ValueError, match="a Path or one of"):
        Diffusion(weights="shoes").fit(bars())  # type: ignore[arg-type]
    monkeypatch.setitem(_weights.DIGESTS, "diffusion_fashion_mnist", "0")
    with pytest.raises(ValueError, match="install the project again"):
        Diffusion(weights="fashion_mnist").fit(SimpleNamespace(x=torch.rand(4, 1, 28, 28)))


def test_shipped_weights_are_a_model_of_28_pixels() -> None:
    part = Diffusion(weights="fashion_mnist")
    state = part.fit(SimpleNamespace(x=torch.rand(4, 1, 28, 28)))
    assert _weights.shipped("diffusion", "fashion_mnist").stat().st_size < 5_000_000
    drawn = part.load(state).sample(4, torch.Generator().manual_seed(0), steps=5)
    assert 0.1 < drawn.mean() < 0.5


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(1, 1, 8, 8), "two inputs"),
        (2 * torch.rand(5, 1, 8, 8), "scale them first"),
        (torch.full((5, 1, 8, 8), float("nan")), "finite"),
    ],
)
def test_bad_inputs_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PART.fit(SimpleNamespace(x=x))


def test_other_shapes_and_senseless_parameters_are_refused(state) -> None:
    with pytest.raises(ValueError, match="shape"):
        PART.load(state).project(torch.rand(2, 1, 8, 8))
    for params, message in (({"width": 12}, "multiple of 8"), ({"time": 0.0}, "in \\(0, 1]"), ({"dim": 0}, "positive")):
        with pytest.raises(ValueError, match=message):
            Diffusion(**params)


def test_a_diverged_loss_is_said() -> None:
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="lower learning_rate"):
        Diffusion(width=8, learning_rate=1e12).fit(bars())
