"""The five known-broken defenses: sound values, misleading gradients, and a cure that an attacker finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks._loss import cross_entropy, margin
from attacks._search import ascent_direction
from attacks.pgd import PGD
from defenses.quantised_input import QuantisedInput
from defenses.random_resizing import RandomResizing
from defenses.saturated_softmax import SaturatedSoftmax
from defenses.shattered_gradients import ShatteredGradients
from defenses.shuffled_gradients import ShuffledGradients
from harness.draws import CounterDraws
from harness.gradients import bpda, expectation
from harness.types import Budget, Outputs, View

EPSILON = 0.2
Forward = Callable[[Tensor, CounterDraws], Tensor]
NOTHING = nn.Identity()


def held(forward: Forward, digits, *, judged: Forward | None = None, steps: int = 40) -> float:
    """Share of right inputs that projected gradient descent leaves right, judged on fresh draws."""
    draws = CounterDraws("attack", digits.test.index)
    view = View(
        decide=lambda x, draws: forward(x, draws).argmax(1),
        fooled=lambda candidate, x, y, epsilon, draws: forward(candidate, draws).argmax(1) != y,
        forward=lambda x, draws: Outputs(forward(x, draws)),
    )
    found = PGD(steps=steps).perturb(view, digits.test.x, digits.test.y, Budget("linf", EPSILON), draws)
    logits = (judged or forward)(found, draws.stream("fresh"))
    return float((logits.argmax(1) == digits.test.y).float().mean())


@pytest.fixture(scope="module")
def undefended(digits) -> float:
    return held(lambda x, draws: digits.network(x), digits)


@pytest.mark.parametrize(
    "part", [QuantisedInput(), ShatteredGradients(), ShuffledGradients()], ids=lambda part: type(part).__name__
)
def test_purifiers_mislead_gradients_and_fall_to_the_identity(digits, undefended, part):
    purify = part.load({}, victim=digits.network)
    assert held(lambda x, draws: digits.network(purify(x)), digits) > undefended + 0.5
    straight = bpda(purify, lambda x: x)
    assert held(lambda x, draws: digits.network(straight(x)), digits) < undefended + 0.05


@pytest.mark.parametrize(
    "part", [QuantisedInput(), ShatteredGradients(), ShuffledGradients()], ids=lambda part: type(part).__name__
)
def test_purifiers_hardly_change_the_answers(digits, part):
    purify = part.load({}, victim=digits.network)
    x = digits.fit.x
    assert (purify(x) - x).abs().max() <= 1 / 30 + 1e-6
    assert purify(x).min() >= 0
    assert purify(x).max() <= 1
    assert (digits.network(purify(x)).argmax(1) == digits.network(x).argmax(1)).float().mean() > 0.98
    assert getattr(purify, "surrogate", None) is None


@pytest.mark.parametrize("levels", [2, 5, 16])
def test_quantised_input_takes_the_nearest_level_and_has_no_gradient(digits, levels):
    purify = QuantisedInput(levels=levels).load({}, victim=digits.network)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    places = np.linspace(0, 1, levels)
    nearest = places[np.abs(x.detach().numpy()[..., None] - places).argmin(-1)]
    np.testing.assert_allclose(purify(x).detach().numpy(), nearest, atol=1e-6)
    assert not ascent_direction(cross_entropy(Outputs(digits.network(purify(x))), torch.zeros(4).long()), x).any()


def test_saturated_softmax_has_the_labels_and_no_gradient_of_cross_entropy(digits, undefended):
    network = SaturatedSoftmax().load({}, victim=digits.network)
    x, y = digits.test.x.clone().requires_grad_(), digits.test.y
    outputs = Outputs(network(x))
    assert torch.equal(outputs.logits.argmax(1), digits.network(x).argmax(1))
    torch.testing.assert_close(network.head(network.features(x)), outputs.logits)
    gradient = ascent_direction(cross_entropy(outputs, y), x, again=True)
    assert (gradient.flatten(1) == 0).all(1).float().mean() > 0.9
    assert ascent_direction(margin(outputs, y), x).flatten(1).any(1).all()
    assert held(lambda x, draws: network(x), digits) > undefended + 0.5
    rescaled = held(lambda x, draws: network(x) / network(x).detach().std(1, keepdim=True), digits)
    assert rescaled < undefended + 0.05


def test_shattered_gradients_turn_the_sign_of_half_the_places(digits):
    purify = ShatteredGradients().load({}, victim=NOTHING)
    x = digits.test.x.clone().requires_grad_()
    purify(x).sum().backward()
    assert (x.grad > 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert x.grad.abs().max() <= 101
    step = 1e-2
    with torch.no_grad():
        secant = (purify(x + step) - purify(x - step)) / (2 * step)
    assert (secant - 1).abs().max() < 0.1


def test_shuffled_gradients_disagree_with_finite_differences(digits):
    purify = ShuffledGradients().load({}, victim=NOTHING)
    weights = torch.randn(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = digits.test.x[:8].double().requires_grad_()
    (purify(x).flatten(1) @ weights).sum().backward()
    measured = torch.stack(
        [
            (purify(x + 1e-3 * e) - purify(x)).flatten(1) @ weights * 1e3
            for e in torch.eye(64).view(64, 1, 8, 8).double()
        ],
        1,
    )
    assert torch.equal(purify(x), x)
    assert functional.cosine_similarity(measured, x.grad.flatten(1)).abs().max() < 0.5
    torch.testing.assert_close(x.grad.flatten(1).sort(1).values, measured.sort(1).values, atol=1e-6, rtol=1e-6)


def test_resizing_agrees_with_interpolation_and_padding():
    """Each image is one of the images that torch's own resizing and padding give."""
    purify = RandomResizing(smallest=0.7).load({}, victim=NOTHING)
    x = torch.rand(40, 2, 10, 10, generator=torch.Generator().manual_seed(0))
    found, sizes = purify(x, CounterDraws("key", torch.arange(40))), set()
    for image, result in zip(x, found, strict=True):
        match = [
            (side, top, left)
            for side in range(7, 11)
            for top in range(11 - side)
            for left in range(11 - side)
            if torch.allclose(_padded(image, side, top, left), result, atol=1e-5)
        ]
        assert len(match) == 1
        sizes.add(match[0][0])
    assert sizes == {7, 8, 9, 10}


def _padded(image: Tensor, side: int, top: int, left: int) -> Tensor:
    small = functional.interpolate(image[None], (side, side), mode="bilinear", align_corners=False)[0]
    return functional.pad(small, (left, 10 - side - left, top, 10 - side - top))


def test_resizing_belongs_to_input_and_draw(digits):
    purify, x = RandomResizing().load({}, victim=NOTHING), digits.test.x
    draws, rows = CounterDraws("key", torch.arange(len(x))), torch.tensor([5, 3])
    once = purify(x, draws)
    assert torch.equal(purify(x, draws), once)
    torch.testing.assert_close(purify(x[rows], draws[rows]), once[rows])
    assert not torch.equal(purify(x, draws.stream(1)), once)
    assert once.min() >= 0
    assert once.max() <= 1
    assert purify(x.double(), draws).dtype == torch.float64


def test_resizing_keeps_proportions_of_oblong_images():
    grey = torch.ones(30, 1, 8, 16)
    found = RandomResizing(smallest=0.5).load({}, victim=NOTHING)(grey, CounterDraws("key", torch.arange(30)))
    high, wide = found.amax((1, 3)).sum(1), found.amax((1, 2)).sum(1)
    assert torch.equal(wide, 2 * high)
    assert high.min() >= 4


def test_resizing_holds_against_one_draw_and_falls_to_the_mean_of_draws(digits):
    """An attack on one draw over and over learns that draw only."""
    purify = RandomResizing().load({}, victim=digits.network)

    def one(x: Tensor, draws: CounterDraws) -> Tensor:
        return digits.network(purify(x, CounterDraws("kept", draws.index)))

    def fresh(x: Tensor, draws: CounterDraws) -> Tensor:
        return digits.network(purify(x, draws))

    mean = expectation(lambda x, draws: Outputs(fresh(x, draws)), 16)
    naive = held(one, digits, judged=fresh)
    assert held(lambda x, draws: mean(x, draws).logits, digits, judged=fresh, steps=20) < naive - 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuantisedInput(levels=1), "at least 2 levels"),
        (lambda: SaturatedSoftmax(temperature=0.0), "positive temperature"),
        (lambda: ShatteredGradients(amplitude=0.5), "between 0 and 0.5"),
        (lambda: ShatteredGradients(slope=-1.0), "positive slope"),
        (lambda: RandomResizing(smallest=1.5), "share in"),
    ],
)
def test_senseless_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_resizing_refuses_what_is_no_image():
    with pytest.raises(ValueError, match="random_resizing takes images"):
        RandomResizing().load({}, victim=NOTHING)(torch.zeros(2, 64), CounterDraws("key", torch.arange(2)))
