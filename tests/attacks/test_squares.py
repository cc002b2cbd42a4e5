"""Square's windows, hills and look ahead; the published shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks import square
from attacks._ball import ball
from attacks._squares import Bumps, Ends
from attacks._windows import bump, image_shape, places, share, sides
from attacks.square import Square
from harness.draws import CounterDraws
from harness.types import Budget, Outputs, View


def test_the_share_of_pixels_is_halved_at_the_published_queries():
    assert [share(0.8, query) for query in (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001)] == [
        0.8 / 2**halvings for halvings in (0, 0, 1, 1, 2, 3, 4, 5, 6, 7)
    ]


def test_sides_of_squares_that_fit():
    assert sides(0.8 * 784, 28, 28) == (25, 25)
    assert sides(0.1, 28, 28) == (1, 1)
    assert sides(0.1, 28, 28, odd=True) == (3, 3)
    assert sides(16.0, 28, 28, odd=True) == (5, 5)
    assert sides(32.0, 1, 64) == (1, 32)
    assert sides(16.0, 2, 64) == (2, 8)


@pytest.mark.parametrize(("shape", "image"), [((9,), (1, 1, 9)), ((3, 9), (3, 1, 9)), ((2, 4, 5), (2, 4, 5))])
def test_inputs_of_any_shape_are_images(shape, image):
    assert image_shape(torch.Size(shape)) == image


def test_places_are_rectangles_that_reach_every_corner():
    numbers = torch.tensor([0.0, 0.5, 0.9999])
    index = places((numbers, numbers.flip(0)), (2, 3), (1, 4, 5))
    assert index[:, 0].tolist() == [[2, 3, 4, 7, 8, 9], [6, 7, 8, 11, 12, 13], [10, 11, 12, 15, 16, 17]]


@pytest.mark.parametrize("side", [3, 5, 8])
def test_hills_are_the_published_sum_of_rectangles(side):
    """Each rectangle of half-width k round the middle adds 1 / (k + 1)^2."""

    def hill(tall, wide):
        total = np.zeros((tall, wide))
        for k in range(max(tall // 2 + 1, wide // 2 + 1)):
            top, left = tall // 2 - k, wide // 2 - k
            total[max(top, 0) : top + 2 * k + 1, max(left, 0) : left + 2 * k + 1] += 1 / (k + 1) ** 2
        return total / np.linalg.norm(total)

    expected = np.concatenate([hill(side // 2, side), -hill(side - side // 2, side)])
    expected /= np.linalg.norm(expected)
    assert np.allclose(bump(side, side, sideways=False), expected, atol=1e-6)
    assert np.allclose(bump(side, side, sideways=True), expected.T, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 7), (24,)])
def test_moves_stay_in_the_ball_and_use_it(norm, shape, draws):
    x = torch.full((8, *shape), 0.5)
    feasible, image = ball(x, Budget(norm, 0.2)), image_shape(torch.Size(shape))
    move = Ends(image) if norm == "linf" else Bumps(image)
    mine = draws[torch.arange(8)]
    candidate = move.start(feasible, mine)
    for query in range(5):
        length = (candidate - x).flatten(1).norm(p=torch.inf if norm == "linf" else 2, dim=1)
        assert torch.allclose(length, torch.full((8,), 0.2), rtol=1e-5)
        numbers = mine.stream(query).uniform(move.numbers)
        before, candidate = candidate, move.propose(candidate, feasible, numbers, 0.1)
        assert (candidate != before).flatten(1).any(1).all() or norm == "linf"
    if norm == "linf":
        assert torch.allclose((candidate - x).abs(), torch.full_like(x, 0.2), rtol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_moves_tried_at_once_come_to_the_same_as_one_after_the_other(digits, draws, norm, monkeypatch):
    network, x, y = digits
    budget, rows = Budget(norm, {"linf": 0.1, "l2": 0.6}[norm]), torch.arange(12)
    view = View.of(network, early_exit=True)
    ahead = Square(queries=400).perturb(view, x[rows], y[rows], budget, draws[rows])
    monkeypatch.setattr(square, "AT_ONCE", 0)
    one = Square(queries=400).perturb(view, x[rows], y[rows], budget, draws[rows])
    assert torch.allclose(ahead, one, atol=1e-5)
    random = replace(view, random=True)
    assert torch.allclose(Square(queries=400).perturb(random, x[rows], y[rows], budget, draws[rows]), one, atol=1e-5)


def test_the_larger_of_two_lacks_is_lowered(digits, draws, detecting):
    _, x, y = digits
    bright = x.clone()
    bright[:, :, ::7, ::7] = 0.35  # every clean input is rejected
    found = Square(queries=300).perturb(detecting, bright, y, Budget("linf", 0.2), draws)
    assert detecting.forward(found, draws).fooled(y).float().mean() > 0.4


def test_an_input_leaves_only_when_the_harness_confirms(digits, draws):
    network, x, y = digits
    asked = []

    def never(candidate, x, y, epsilon, draws):
        asked.append(epsilon)
        return torch.zeros(len(candidate), dtype=torch.bool)

    view = View(decide=None, fooled=never, forward=lambda z, _: Outputs(network(z)), early_exit=True)
    found = Square(queries=60).perturb(view, x, y, Budget("linf", 0.2), draws)
    assert set(asked) == {0.2}
    assert (network(found).argmax(1) != y).any()


def test_at_most_the_budget_of_queries(digits, draws):
    network, x, y = digits
    asked = []
    view = View(
        decide=None,
        fooled=None,
        forward=lambda z, _: Outputs(asked.append(len(z)) or network(z)),
        early_exit=False,
    )
    Square().perturb(view, x, y, Budget("linf", 0.01, queries=20), draws)
    assert sum(asked) == 20 * len(x)


def test_bad_share():
    with pytest.raises(ValueError, match="p_init = 0"):
        Square(p_init=0.0)


def test_an_answer_that_is_no_number_is_taken_for_success():
    """A network that fails away from the input, whatever the label: the first point that makes it fail is kept."""
    x, y = torch.full((3, 1, 4, 4), 0.5), torch.tensor([0, 1, 2])

    def failing(z):
        sound = (z - 0.5).abs().flatten(1).amax(1, keepdim=True) < 0.05
        return torch.where(sound, torch.nn.functional.one_hot(y, 3) * 9.0, torch.nan)

    found = Square(queries=3).perturb(
        View.of(failing), x, y, Budget("linf", 0.1), CounterDraws("tests", torch.arange(3))
    )
    assert bool(failing(found).isnan().all())
