"""Detectors of foreign inputs against pytorch-ood, closed forms and dense quadrature; bad input."""

from __future__ import annotations

import io
import math
import zlib

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.distributions import Independent, Normal

from defenses._evidence import bound, log_evidence, log_prior
from defenses.autoencoder_error import AutoencoderError
from defenses.autoencoder_mahalanobis import AutoencoderMahalanobis
from defenses.energy import Energy
from defenses.input_complexity import InputComplexity, compressed_bits
from defenses.likelihood import Likelihood
from defenses.likelihood_regret import LikelihoodRegret
from defenses.maximum_softmax import MaximumSoftmax
from defenses.nearest_neighbors import NearestNeighbors
from defenses.vim import ViM
from geometry.manifolds.grid_vae import GridVAE
from geometry.manifolds.pca import PCA
from geometry.manifolds.variational_autoencoder import VariationalAutoencoder

CLASSIFIERS = [MaximumSoftmax(), Energy(), NearestNeighbors(k=5), ViM()]
GENERATIVE = [Likelihood(), InputComplexity(), LikelihoodRegret(steps=8), AutoencoderError(), AutoencoderMahalanobis()]
NOISE = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def named(part):
    return type(part).__name__


def fitted(part, digits, **inputs):
    torch.manual_seed(0)
    state = part.fit(digits.fit, victim=digits.network, **inputs) if hasattr(part, "fit") else {}
    return state, part.load(state, victim=digits.network, **inputs)


@pytest.fixture(scope="session")
def vae(digits):
    torch.manual_seed(0)
    part = VariationalAutoencoder(dim=6, width=8, epochs=1)
    return part.load(part.fit(digits.fit))


@pytest.fixture(scope="session")
def pca(digits):
    part = PCA(dim=10)
    return part.load(part.fit(digits.fit))


@pytest.fixture(scope="session")
def model_of(vae, pca):
    return lambda part: {"model": pca if named(part).startswith("Autoencoder") else vae}


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_softmax_and_energy_are_those_of_pytorch_ood(digits, temperature):
    detector = pytest.importorskip("pytorch_ood.detector")
    logits = digits.network(digits.test.x)
    _, score = fitted(MaximumSoftmax(temperature=temperature), digits)
    probability = torch.sigmoid(-score(digits.test.x))
    torch.testing.assert_close(-probability, detector.MaxSoftmax(None, t=temperature).predict_logits(logits))
    _, score = fitted(Energy(temperature=temperature), digits)
    torch.testing.assert_close(score(digits.test.x), detector.EnergyBased(None, t=temperature).predict_logits(logits))


def test_nearest_neighbors_and_vim_are_those_of_pytorch_ood(digits):
    detector = pytest.importorskip("pytorch_ood.detector")
    known, features = digits.network.features(digits.fit.x), digits.network.features(digits.test.x)
    _, score = fitted(NearestNeighbors(k=7), digits)
    oracle = detector.KNN(None, k=7).fit_features(known, digits.fit.y)
    torch.testing.assert_close(
        score(digits.test.x).sqrt().double(), oracle.predict_features(features), atol=1e-4, rtol=1e-4
    )
    head = digits.network.head
    _, score = fitted(ViM(dim=10), digits)
    oracle = detector.ViM(None, d=10, w=head.weight, b=head.bias).fit_features(known, digits.fit.y)
    torch.testing.assert_close(score(digits.test.x), oracle.predict_features(features), atol=2e-3, rtol=1e-3)


def test_confidence_keeps_its_order_where_probabilities_round_to_one():
    score = MaximumSoftmax().load({}, victim=nn.Identity())
    x = torch.tensor([[40.0, 0.0], [60.0, 0.0]], requires_grad=True)
    scores = score(x)
    assert scores.tolist() == [-40.0, -60.0]
    scores.sum().backward()
    assert x.grad.tolist() == [[-1.0, 1.0]] * 2


def test_evidence_against_quadrature():
    """One code of a trained model, integrated on a fine grid."""
    torch.manual_seed(0)
    bars = torch.rand(300, 1, 1, 1).expand(-1, 1, 4, 4).clone()
    part = VariationalAutoencoder(dim=1, width=4, epochs=1)
    model = part.load(part.fit(type("Data", (), {"x": bars})))
    z = torch.linspace(-8, 8, 8001)[:, None]
    images = model.decode(z).flatten(1).double()
    x = bars[:5]
    prior = Normal(0.0, 1.0).log_prob(z[:, 0].double())
    inside = Independent(Normal(images, part.deviation), 1).log_prob(x.flatten(1)[:, None].double())
    exact = torch.logsumexp(inside + prior, 1) + math.log(16 / 8000)
    found = log_evidence(model, x, torch.randn(2000, 1))
    torch.testing.assert_close(found.double(), exact, atol=0.05, rtol=0)
    few = torch.stack([log_evidence(model, x, torch.randn(1, 1)) for _ in range(200)]).mean(0)
    assert (few < exact + 0.05).all()


def test_priors_are_read_from_divergences(digits, vae):
    z = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    expected = Independent(Normal(torch.zeros(6), 1.0), 1).log_prob(z)
    torch.testing.assert_close(log_prior(vae, z), expected, atol=1e-3, rtol=1e-4)
    torch.manual_seed(0)
    part = GridVAE(dim=2, width=4, epochs=1)
    grid = part.load(part.fit(digits.fit))
    assert torch.isfinite(log_evidence(grid, digits.test.x, torch.randn(4, 2))).all()


def test_bounds_are_the_models_own(digits, vae):
    x, noise = digits.test.x[:8], torch.randn(3, 6)
    mean, log_variance = vae.posterior(x)
    expected = torch.stack([vae.elbo(x, row.expand(8, 6)) for row in noise]).mean(0)
    found = bound(vae, x, noise, mean=mean, log_variance=log_variance)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_likelihoods_of_a_diffusion_model_are_its_densities_between_grey_levels(digits):
    class Plane:
        """A model whose density is known, in place of one that removes noise."""

        shape = (1, 8, 8)

        def noise(self, x, kept, /):
            raise NotImplementedError

        def log_density(self, x, probes, /, *, steps=10):
            assert probes.shape == (3, *x.shape)
            assert (probes.abs() == 1).all()
            assert (probes == probes[:, :1]).all()
            return x.flatten(1).sum(1) + 100 * steps

    x = digits.test.x[:4]
    state, score = fitted(Likelihood(samples=3, steps=2), digits, model=Plane())
    between = (255 * x + state["noise"][-1]) / 256
    assert (between < 1).all()
    torch.testing.assert_close(score(x), -between.flatten(1).sum(1) - 200)
    state, score = fitted(InputComplexity(samples=3, steps=2), digits, model=Plane())
    between = (255 * x + state["noise"][-1]) / 256
    bits = (-between.flatten(1).sum(1) - 200) / math.log(2)
    torch.testing.assert_close(score(x), bits - compressed_bits(x, "png"))


def test_regret_is_the_gap_to_the_exact_posterior():
    """A linear decoder has a normal posterior in closed form: the encoder's guess, N(0, 1), is regretted by the divergence."""
    from geometry.manifolds._variational import standard_divergence

    class Linear:
        dim, deviation, divergence = 1, 0.5, staticmethod(standard_divergence)

        def elbo(self, x, noise=None):
            raise NotImplementedError

        def posterior(self, x):
            return torch.zeros(len(x), 1) + 0 * x.sum(1, keepdim=True), torch.zeros(len(x), 1)

        def decode(self, z):
            return z @ torch.ones(1, 4)

    x = torch.tensor([[0.2, 0.4, 0.1, 0.3], [0.9, 0.8, 1.0, 0.7]])
    variance = 1 / (1 + 4 / 0.25)
    mean = variance * x.sum(1) / 0.25
    expected = 0.5 * (1 / variance + mean.square() / variance - 1 + math.log(variance))
    nodes, _ = np.polynomial.hermite_e.hermegauss(2)  # +1 and -1: exact for a quadratic fidelity
    part = LikelihoodRegret(steps=400, learning_rate=0.05)
    score = part.load({"noise": torch.tensor(nodes[:, None]).float()}, victim=nn.Identity(), model=Linear())
    torch.testing.assert_close(score(x), expected.float(), atol=1e-3, rtol=1e-3)
    assert (part.load({"noise": torch.zeros(1, 1)}, victim=nn.Identity(), model=Linear())(x) >= 0).all()


def test_compressed_lengths_are_those_of_the_files(digits, vae):
    from PIL import Image

    x = digits.test.x[:3]
    pixels = (x * 255).round().to(torch.uint8).numpy()
    assert compressed_bits(x, "zlib").tolist() == [8.0 * len(zlib.compress(image.tobytes(), 9)) for image in pixels]
    file = io.BytesIO()
    Image.fromarray(pixels[0, 0]).save(file, "png", compress_level=9)
    assert compressed_bits(x, "png")[0] == 8 * len(file.getvalue())
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert compressed_bits(flat, "png") < compressed_bits(torch.rand(1, 3, 16, 16), "png")
    state, score = fitted(InputComplexity(), digits, model=vae)
    noise = state["noise"]
    expected = -log_evidence(vae, x, noise) / math.log(2) - compressed_bits(x, "png")
    torch.testing.assert_close(score(x), expected)
    true, smooth = score(digits.test.x), score.surrogate(digits.test.x)
    assert abs(float((true - smooth).mean())) < 0.05 * float(compressed_bits(digits.test.x, "png").mean())


def test_reconstruction_scores_in_closed_form(digits, pca):
    x = digits.test.x[:20]
    _, score = fitted(AutoencoderError(), digits, model=pca)
    errors = pca.distance(x).square() / 64
    torch.testing.assert_close(score(x), errors, atol=1e-6, rtol=1e-4)
    part = AutoencoderMahalanobis(weight=0.5, shrinkage=0.0)
    _, score = fitted(part, digits, model=pca)
    known = pca.encode(digits.fit.x).double().numpy()
    inverse = np.linalg.inv(np.cov(known.T, bias=True))
    far = np.array([mahalanobis(z, known.mean(0), inverse) for z in pca.encode(x).double().numpy()])
    mean = np.mean([mahalanobis(z, known.mean(0), inverse) for z in known])
    scale = float((pca.distance(digits.fit.x).square() / 64).mean())
    np.testing.assert_allclose(score(x).numpy(), errors.numpy() / scale + 0.5 * far / mean, rtol=1e-3)


@pytest.mark.parametrize("part", CLASSIFIERS + GENERATIVE, ids=named)
def test_scores_belong_to_the_input_and_have_gradients(digits, model_of, part):
    inputs = {} if part in CLASSIFIERS else model_of(part)
    _, score = fitted(part, digits, **inputs)
    x = digits.test.x
    rows = torch.tensor([5, 3])
    torch.testing.assert_close(score(x[rows]), score(x)[rows], rtol=1e-3, atol=5e-3)
    smooth = getattr(score, "surrogate", score)
    leaf = x[:16].clone().requires_grad_()
    smooth(leaf).sum().backward()
    step = 1e-3 * leaf.grad.sign()
    with torch.no_grad():
        change = (smooth(x[:16] + step) - smooth(x[:16] - step)) / 2e-3
    assert torch.cosine_similarity(change, leaf.grad.abs().flatten(1).sum(1), dim=0) > 0.95


@pytest.mark.parametrize("part", CLASSIFIERS[2:] + GENERATIVE[:1] + GENERATIVE[3:], ids=named)
def test_noise_is_told_from_digits(digits, model_of, part):
    inputs = {} if part in CLASSIFIERS else model_of(part)
    _, score = fitted(part, digits, **inputs)
    scores = torch.cat([score(digits.test.x), score(NOISE)]).detach()
    assert roc_auc_score([0] * len(digits.test) + [1] * 64, scores) > 0.9


@pytest.mark.parametrize("part", GENERATIVE[:3] + GENERATIVE[4:], ids=named)
def test_models_without_what_is_read_are_refused(digits, part):
    words = (
        "reads codes, and Identity" if named(part) == "AutoencoderMahalanobis" else "give the model variational_auto"
    )
    with pytest.raises(TypeError, match=words):
        part.fit(digits.fit, victim=digits.network, model=nn.Identity())
    with pytest.raises(TypeError, match=words):
        part.load(dict.fromkeys(("distance", "whitening"), torch.ones(1)), victim=digits.network, model=nn.Identity())


def test_what_vim_and_neighbors_cannot_do(digits):
    class Bent(nn.Module):
        features = type(digits.network).features

        def head(self, features):
            return torch.stack([features.sum(1) ** 2, features[:, 0]], 1)

    bent = Bent()
    bent.body = digits.network.body
    with pytest.raises(TypeError, match="last layer is affine"):
        ViM().fit(digits.fit, victim=bent)
    with pytest.raises(ValueError, match="dim below the 48 features"):
        ViM(dim=48).fit(digits.fit, victim=digits.network)
    with pytest.raises(TypeError, match="vim reads the penultimate layer"):
        ViM().fit(digits.fit, victim=nn.Flatten())
    with pytest.raises(TypeError, match="nearest_neighbors reads the penultimate layer"):
        NearestNeighbors(k=1).fit(digits.fit, victim=nn.Flatten())
    with pytest.raises(ValueError, match="has 500 fit inputs, but measures to the 600-th"):
        NearestNeighbors(k=600).fit(digits.fit, victim=digits.network)


def test_complexity_is_that_of_images(digits, vae):
    _, score = fitted(InputComplexity(), digits, model=vae)
    with pytest.raises(ValueError, match=r"takes images \(B, C, H, W\)"):
        score(torch.zeros(2, 64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaximumSoftmax(temperature=0), "positive temperature"),
        (lambda: Energy(temperature=-1), "positive temperature"),
        (lambda: NearestNeighbors(k=0), "1 <= k <= references"),
        (lambda: ViM(dim=0), "a dim of at least 1"),
        (lambda: Likelihood(samples=0), "one sample and step"),
        (lambda: InputComplexity(steps=0), "one sample and step"),
        (lambda: LikelihoodRegret(steps=0), "one step at least"),
        (lambda: AutoencoderMahalanobis(weight=-1), "a weight of at least 0"),
    ],
)
def test_senseless_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
