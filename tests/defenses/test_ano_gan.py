"""AnoGAN: what is left of made, known and foreign images, its gradient, its training resumed, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score

from defenses._gan import Generator
from defenses.ano_gan import AnoGAN
from harness.draws import CounterDraws
from harness.training import Kept

PART = AnoGAN(width=8, updates=400, dim=8, steps=30)
NOISE = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Given:
    """Draws that give the same codes whatever is asked for."""

    def __init__(self, codes: torch.Tensor) -> None:
        self.codes = codes

    def stream(self, name: str) -> Given:
        return self

    def normal(self, *shape: int, draw: int = 0) -> torch.Tensor:
        return self.codes


@pytest.fixture(scope="module")
def state(digits):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PART.fit(digits.fit, victim=digits.network)


@pytest.fixture(scope="module")
def score(state, digits):
    return PART.load(state, victim=digits.network)


def draws(number: int) -> CounterDraws:
    return CounterDraws("test", torch.arange(number))


def test_noise_and_shuffled_images_are_foreign(score, digits) -> None:
    known, noise = score(digits.test.x, digits.test.draws), score(NOISE, draws(64))
    area = roc_auc_score([0] * len(known) + [1] * len(noise), torch.cat([known, noise]).numpy())
    assert area > 0.95
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = score(digits.test.x.flatten(1)[:, order].view(-1, 1, 8, 8), digits.test.draws)
    assert roc_auc_score([0] * len(known) + [1] * len(known), torch.cat([known, shuffled]).numpy()) > 0.9


def test_nothing_is_left_of_a_made_image_when_the_search_begins_at_its_code(score) -> None:
    codes = torch.randn(5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made = score.generator(codes)
    assert score(made, Given(codes)).abs().max() < 1e-9
    assert score(made, draws(5)).min() > 1e-6


def test_more_steps_leave_less(state, digits) -> None:
    """The least on the way is kept, so that a longer search is never worse."""
    x, given = digits.test.x[:20], digits.test.draws[torch.arange(20)]
    few, many = (replace(PART, steps=n).load(state, victim=digits.network)(x, given) for n in (5, 40))
    assert bool((many <= few + 1e-6).all())
    assert float(many.mean()) < 0.9 * float(few.mean())


def test_what_is_left_is_the_papers_loss(score, digits) -> None:
    x = digits.test.x[:3].double()
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    made = score.generator(z)
    for row in range(3):
        residual = sum(abs(float(a) - float(b)) for a, b in zip(x[row].flatten(), made[row].flatten(), strict=True))
        one, other = (score.critic.features(image[row : row + 1])[0] for image in (x, made))
        features = sum(abs(float(a) - float(b)) for a, b in zip(one, other, strict=True))
        assert float(score._left(x, z)[row]) == pytest.approx(0.9 * residual + 0.1 * features)


def test_the_gradient_is_that_at_the_found_code(score, digits) -> None:
    x = digits.test.x[:2].double().clamp(0.1, 0.9).requires_grad_()
    given = digits.test.draws[torch.arange(2)]
    (gradient,) = torch.autograd.grad(score(x, given).sum(), x)
    code = score._code(x.detach(), given.stream("start").normal(8).double())
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = 1e-6 * direction
    change = (score._left(x.detach() + step, code) - score._left(x.detach() - step, code)).sum() / 2e-6
    assert float((gradient * direction).sum()) == pytest.approx(float(change), rel=1e-4)


def test_scores_do_not_depend_on_the_batch(score, digits) -> None:
    x, given = digits.test.x[:12], digits.test.draws[torch.arange(12)]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(score(x, given)[order], score(x[order], given[order]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(score(x, given)[3:4], score(x[3:4], given[torch.tensor([3])]), rtol=1e-5, atol=1e-5)
    assert score(x[:0], given[torch.arange(0)]).shape == (0,)


class Stopping(Kept):
    """Saves at every update, and is interrupted after some of them."""

    limit = 50

    def save(self, state, *, now=False):
        super().save(state, now=True)
        self.limit -= 1
        if not self.limit:
            raise KeyboardInterrupt


def test_a_resumed_training_gives_the_same_weights(digits, tmp_path: Path) -> None:
    part = replace(PART, updates=80)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        whole = part.fit(digits.fit, victim=digits.network)
        torch.manual_seed(5)
        with pytest.raises(KeyboardInterrupt):
            part.fit(digits.fit, victim=digits.network, training=Stopping(tmp_path / "state", "training"))
        found = part.fit(digits.fit, victim=digits.network, training=Kept(tmp_path / "state", "training"))
    assert all(torch.equal(whole[key], found[key]) for key in whole)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (2, 5, 9)])
def test_generated_images_have_the_shape_of_the_data(shape: tuple[int, ...]) -> None:
    made = Generator(shape, 4, 4)(torch.randn(3, 4))
    assert made.shape == (3, *shape)
    assert bool(((made >= 0) & (made <= 1)).all())


def test_bad_input_is_named(state, score, digits) -> None:
    with pytest.raises(ValueError, match=r"takes images \(B, C, H, W\)"):
        PART.fit(replace(digits.fit, x=digits.fit.x.flatten(1)), victim=digits.network)
    with pytest.raises(ValueError, match="two images at least"):
        PART.fit(digits.fit[torch.arange(1)], victim=digits.network)
    with pytest.raises(ValueError, match=r"learned images \(1, 8, 8\), but these are \(1, 9, 9\)"):
        score(torch.rand(2, 1, 9, 9), draws(2))
    with pytest.raises(ValueError, match=r"weight in \[0, 1\]"):
        AnoGAN(weight=2.0)
    with pytest.raises(ValueError, match="updates and steps"):
        AnoGAN(steps=0)
    with pytest.raises(ValueError, match="lower learning_rate"):
        replace(PART, learning_rate=1e30).fit(digits.fit, victim=digits.network)
