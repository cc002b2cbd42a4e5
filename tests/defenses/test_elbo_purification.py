"""ELBO purification and its classifier: ascent on the bound, bounds on moves, restarts, stops, what attackers are given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from defenses.elbo_purification import Ascent, ElboPurification
from defenses.vae_classifier import VAEClassifier
from harness.draws import CounterDraws


@pytest.fixture(scope="module")
def classifier(digits):
    torch.manual_seed(0)
    part = VAEClassifier(dim=8, width=8, hidden=32, epochs=1, deviation=0.2, weight=50.0)
    return part.load(part.fit(digits.fit, victim=digits.network), victim=digits.network)


class Quadratic:
    """A bound with its top at one half of every pixel, and codes that are the first pixels."""

    dim = 3

    def elbo(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return -(x - 0.5).square().flatten(1).sum(1)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1)[:, :3], torch.zeros(len(x), 3)

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3]

    def decode(self, z: Tensor) -> Tensor:
        return z


def draws(number: int) -> CounterDraws:
    return CounterDraws("test", torch.arange(number))


def test_the_ascent_goes_up_and_stays_in_radius_and_box() -> None:
    x = torch.rand(6, 1, 4, 4)
    for radius, reach in ((0.05, 0.05), (None, 1.0)):
        part = ElboPurification(steps=20, restarts=3, step_size=0.03, radius=radius)
        found = Ascent(part, Quadratic(), float("inf"))(x, draws(6))
        assert float((found - x).abs().max()) <= reach + 1e-6
        assert bool(((found >= 0) & (found <= 1)).all())
        assert bool((Quadratic().elbo(found) > Quadratic().elbo(x)).all())
    assert float((found - 0.5).abs().max()) < 0.04  # without a radius all of it is forgotten


def test_an_input_that_is_likely_enough_is_left_alone() -> None:
    x = torch.stack([torch.full((1, 4, 4), 0.52), torch.full((1, 4, 4), 0.9)])
    part = ElboPurification(steps=5, restarts=1, step_size=0.02)
    found = Ascent(part, Quadratic(), enough=-0.01)(x, draws(2))
    assert torch.equal(found[0], x[0])
    torch.testing.assert_close(found[1], x[1] - 0.1)


def test_answers_do_not_depend_on_companions_and_follow_the_draws(classifier, digits) -> None:
    part = ElboPurification(steps=4, restarts=3, radius=0.1)
    purify = part.load(part.fit(digits.fit, victim=classifier), victim=classifier)
    data = digits.test[torch.arange(6)]
    together = purify(data.x, data.draws)
    alone = torch.cat([purify(data.x[i : i + 1], data.draws[torch.tensor([i])]) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert torch.equal(together, purify(data.x, data.draws))
    assert not torch.equal(together, purify(data.x, data.draws.stream("other")))


def test_the_joint_classifier_is_accurate_and_its_bound_falls_under_attack(classifier, digits) -> None:
    x, y = digits.test.x, digits.test.y
    assert float((classifier(x).argmax(1) == y).double().mean()) > 0.8
    torch.testing.assert_close(classifier.head(classifier.features(x)), classifier(x))
    noisy = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert float((classifier.elbo(noisy) < classifier.elbo(x)).double().mean()) > 0.95
    part = ElboPurification(steps=10, restarts=1, radius=0.3, step_size=0.03)
    purify = part.load({}, victim=classifier)
    purified = purify(noisy, digits.test.draws)
    assert float((classifier.elbo(purified) > classifier.elbo(noisy)).double().mean()) > 0.99
    assert float((purified - x).square().mean()) < float((noisy - x).square().mean())


def test_a_victim_without_a_bound_gets_an_autoencoder_and_a_quantile(digits) -> None:
    torch.manual_seed(0)
    part = ElboPurification(steps=2, restarts=1, dim=4, width=4, epochs=1, enough=0.1)
    state = part.fit(digits.fit, victim=digits.network)
    purify = part.load(state, victim=digits.network)
    share = float((-purify.objective(digits.fit.x) >= state["enough"]).double().mean())
    assert share == pytest.approx(0.9, abs=0.01)


def test_attackers_are_given_gradients_and_codes(classifier, digits) -> None:
    purify = ElboPurification(steps=4, restarts=1, surrogate_steps=2).load({}, victim=classifier)
    x = digits.test.x[:4].clone().requires_grad_()
    stand_in = purify.surrogate(x)
    (gradient,) = torch.autograd.grad(classifier(stand_in).sum(), x)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())
    assert bool((purify.objective(stand_in) < purify.objective(x)).all())
    assert purify.decode(purify.encode(x)).shape == x.shape


def test_black_images_and_single_inputs_pass(classifier) -> None:
    purify = ElboPurification(steps=2, restarts=2).load({}, victim=classifier)
    assert bool(purify(torch.zeros(1, 1, 8, 8), draws(1)).isfinite().all())


@pytest.mark.parametrize(
    ("change", "words"),
    [({"steps": 0}, "one step"), ({"radius": 0.0}, "positive radius"), ({"enough": 1.0}, "quantile")],
)
def test_bad_parameters_are_refused(change, words) -> None:
    with pytest.raises(ValueError, match=words):
        ElboPurification(**change)
    with pytest.raises(ValueError, match="takes positive"):
        VAEClassifier(weight=0.0)
