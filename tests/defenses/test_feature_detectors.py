"""mahalanobis and kernel_density against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from sklearn.covariance import shrunk_covariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity as SklearnDensity
from torch import nn

from defenses._features import squared_distances
from defenses.kernel_density import KernelDensity
from defenses.mahalanobis import Mahalanobis
from harness.draws import CounterDraws
from harness.types import Split

DETECTORS = [Mahalanobis(), KernelDensity()]


def fitted(part, digits):
    torch.manual_seed(0)
    state = part.fit(digits.fit, victim=digits.network)
    return state, part.load(state, victim=digits.network)


def features(digits, x):
    return digits.network.features(x).double().numpy()


@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 1.0])
def test_mahalanobis_is_the_distance_to_the_nearest_class_mean(digits, shrinkage):
    _, score = fitted(Mahalanobis(shrinkage=shrinkage), digits)
    known, labels = features(digits, digits.fit.x), digits.fit.y.numpy()
    means = np.stack([known[labels == label].mean(0) for label in range(10)])
    covariance = shrunk_covariance(
        (known - means[labels]).T @ (known - means[labels]) / len(known), shrinkage=shrinkage
    )
    distances = cdist(features(digits, digits.test.x), means, "mahalanobis", VI=np.linalg.inv(covariance)) ** 2
    np.testing.assert_allclose(score(digits.test.x).numpy(), distances.min(1), rtol=2e-4)


def test_mahalanobis_with_classes_that_lack_inputs(digits):
    some = digits.fit[digits.fit.y < 3]
    state = Mahalanobis().fit(some, victim=digits.network)
    assert state["means"].shape == (3, 48)
    score = Mahalanobis().load(state, victim=digits.network)
    assert score(digits.test.x[digits.test.y < 3]).mean() < score(digits.test.x[digits.test.y > 3]).mean()


def test_kernel_density_is_the_log_density_of_the_predicted_class(digits):
    state, score = fitted(KernelDensity(stored=30), digits)
    stored, labels = (state["features"] + state["centre"]).double().numpy(), state["classes"].numpy()
    assert (np.bincount(labels) == 30).all()
    medians = [pdist(stored[labels == label]) for label in range(10)]
    width = float(state["bandwidth"])
    assert width == pytest.approx(0.25 * np.median(np.concatenate(medians)), rel=1e-3)
    predicted = digits.network(digits.test.x).argmax(1).numpy()
    for label in range(10):
        chosen = np.flatnonzero(predicted == label)
        oracle = SklearnDensity(bandwidth=width).fit(stored[labels == label])
        expected = -oracle.score_samples(features(digits, digits.test.x[chosen]))
        np.testing.assert_allclose(score(digits.test.x[chosen]).numpy(), expected, rtol=1e-3, atol=1e-2)


def test_kernel_density_stores_all_where_there_are_few(digits):
    state, _ = fitted(KernelDensity(stored=1000), digits)
    assert len(state["features"]) == len(digits.fit)


@pytest.mark.parametrize("part", DETECTORS, ids=lambda part: type(part).__name__)
def test_scores_belong_to_the_input_and_rise_where_there_are_no_digits(digits, part):
    _, score = fitted(part, digits)
    x = digits.test.x
    rows = torch.tensor([5, 3])
    torch.testing.assert_close(score(x[rows]), score(x)[rows], rtol=1e-4, atol=1e-3)
    noise = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scores = torch.cat([score(x), score(noise)])
    assert roc_auc_score([0] * len(x) + [1] * 64, scores) > 0.9
    assert score(x).shape == (len(x),)


@pytest.mark.parametrize("part", DETECTORS, ids=lambda part: type(part).__name__)
def test_gradients_agree_with_finite_differences(digits, part):
    _, score = fitted(part, digits)
    x = digits.test.x[:16].clone().requires_grad_()
    score(x).sum().backward()
    step, direction = 1e-3, x.grad.sign()
    with torch.no_grad():
        change = (score(x + step * direction) - score(x - step * direction)) / (2 * step)
    predicted = x.grad.abs().flatten(1).sum(1)
    assert torch.cosine_similarity(change, predicted, dim=0) > 0.99
    far = torch.full((1, 1, 8, 8), 1e4, requires_grad=True)
    score(far).sum().backward()
    assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize("part", DETECTORS, ids=lambda part: type(part).__name__)
def test_fits_repeat_and_states_are_all_there_is(digits, part):
    state, score = fitted(part, digits)
    again, _ = fitted(part, digits)
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert all(torch.isfinite(value).all() for value in state.values())
    reloaded = part.load({name: value.clone() for name, value in state.items()}, victim=digits.network)
    assert torch.equal(reloaded(digits.test.x), score(digits.test.x))


def test_distances_agree_with_scipy_and_have_a_gradient_at_zero():
    a, b = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0)).double()
    np.testing.assert_allclose(squared_distances(a, b).numpy(), cdist(a, b, "sqeuclidean"), atol=1e-12)
    a.requires_grad_()
    squared_distances(a, a.detach()).diagonal().sum().backward()
    assert torch.equal(a.grad, torch.zeros_like(a))


class Constant(nn.Module):
    """Features that do not vary."""

    def features(self, x):
        return torch.ones(len(x), 3)

    def head(self, features):
        return torch.zeros(len(features), 10)

    def forward(self, x):
        return self.head(self.features(x))


@pytest.mark.parametrize("part", DETECTORS, ids=lambda part: type(part).__name__)
def test_victims_without_features_or_with_constant_ones_are_refused(digits, part):
    name = "mahalanobis" if isinstance(part, Mahalanobis) else "kernel_density"
    with pytest.raises(TypeError, match=f"{name} reads the penultimate layer, and Flatten lacks"):
        part.fit(digits.fit, victim=nn.Flatten())
    with pytest.raises(TypeError, match=f"{name} reads the penultimate layer"):
        part.load({}, victim=lambda x: x)
    with pytest.raises(ValueError, match="features vary"):
        part.fit(digits.fit, victim=Constant())


def test_a_class_with_too_few_inputs_is_named(digits):
    with pytest.raises(ValueError, match="needs 2 inputs of each class, but class 3 has 0"):
        KernelDensity().fit(digits.fit[digits.fit.y != 3], victim=digits.network)


def test_one_class_only(digits):
    """A victim of one class has one mean and one density."""
    x = digits.fit.x[:40]
    data = Split(x, torch.zeros(40, dtype=torch.long), torch.arange(40), 1, 16, CounterDraws("one", torch.arange(40)))

    class One(type(digits.network)):
        def forward(self, x):
            return self.head(self.features(x))

    victim = One()
    victim.head = nn.Linear(48, 1)
    victim.eval().requires_grad_(False)
    for part in DETECTORS:
        score = part.load(part.fit(data, victim=victim), victim=victim)
        assert torch.isfinite(score(x)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mahalanobis(shrinkage=1.5), r"shrinkage in \[0, 1\]"),
        (lambda: KernelDensity(stored=1), "at least 2 stored"),
        (lambda: KernelDensity(bandwidth=0.0), "positive bandwidth"),
    ],
)
def test_senseless_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
