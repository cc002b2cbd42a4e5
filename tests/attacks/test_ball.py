"""Projections against a solver, a brute-force search, and the promises of float32."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from attacks._ball import L0Ball, L2Ball, LinfBall, ball, unit
from harness.draws import CounterDraws
from harness.types import Budget


def random_pair(shape, seed=0, spread=1.5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator).round(decimals=1)  # some elements at 0 and 1
    return x, x + spread * torch.randn(shape, generator=generator)


@pytest.mark.parametrize("epsilon", [0.05, 0.4, 1.0, 10.0])
def test_l2_projection_is_the_nearest_point_of_ball_and_box(epsilon):
    x, candidate = random_pair((6, 5))
    projected = L2Ball(x, epsilon).project(candidate.clone())
    for row in range(len(x)):
        center, target = x[row].double().numpy(), candidate[row].double().numpy()
        solved = minimize(
            lambda z, target=target: ((z - target) ** 2).sum(),
            center,
            jac=lambda z, target=target: 2 * (z - target),
            bounds=[(0, 1)] * 5,
            constraints={
                "type": "ineq",
                "fun": lambda z, center=center: epsilon**2 - ((z - center) ** 2).sum(),
                "jac": lambda z, center=center: -2 * (z - center),
            },
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        ).x
        assert np.abs(projected[row].numpy() - solved).max() < 2e-4


def test_l2_projection_uses_the_whole_ball_on_images_with_black_background():
    x = torch.where(torch.arange(784) % 2 == 0, 0.0, 0.5).repeat(4, 1)
    step = 3 * torch.randn(4, 784, generator=torch.Generator().manual_seed(0))
    length = (L2Ball(x, 1.0).project(x + step) - x).norm(dim=1)
    assert torch.allclose(length, torch.ones(4), atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
def test_projection_leaves_feasible_points_alone(norm):
    x, candidate = random_pair((8, 1, 4, 4), spread=0.3)
    feasible = ball(x, Budget(norm, {"linf": 0.1, "l2": 0.7, "l0": 3}[norm]))
    once = feasible.project(candidate)
    assert torch.allclose(feasible.project(once.clone()), once, atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-4, 1 / 255, 8 / 255, 0.1, 0.3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_norm_holds_in_float32_as_the_harness_measures_it(norm, epsilon):
    x, candidate = random_pair((200, 3, 8, 8))
    change = (ball(x, Budget(norm, epsilon)).project(candidate) - x).double().flatten(1)
    length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert length.max() <= epsilon * (1 + 1e-6)
    assert length.min() > 0


def test_l0_projection_is_the_best_choice_of_pixels():
    x, candidate = random_pair((5, 2, 2, 3))
    projected = L0Ball(x, 2).project(candidate.clone())
    for row in range(len(x)):
        costs = []
        for kept in itertools.combinations(range(6), 2):
            mask = torch.zeros(6, dtype=torch.bool)
            mask[list(kept)] = True
            point = torch.where(mask.view(2, 3), candidate[row].clamp(0, 1), x[row])
            costs.append((point - candidate[row]).square().sum())
        assert torch.isclose((projected[row] - candidate[row]).square().sum(), min(costs))
        assert (projected[row] != x[row]).any(0).sum() <= 2


@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
def test_starts_are_feasible_and_belong_to_the_input(norm):
    x, _ = random_pair((16, 1, 4, 4))
    draws, epsilon = CounterDraws("k", torch.arange(16)), {"linf": 0.2, "l2": 0.5, "l0": 3}[norm]
    start = ball(x, Budget(norm, epsilon)).start(draws)
    rows = torch.tensor([9, 2])
    assert torch.equal(ball(x[rows], Budget(norm, epsilon)).start(draws[rows]), start[rows])
    assert torch.allclose(ball(x, Budget(norm, epsilon)).project(start.clone()), start, atol=1e-6)
    assert (start != x).flatten(1).any(1).all()


def test_unit_survives_gradients_that_would_underflow():
    vectors = torch.tensor([[3e-30, 4e-30], [0.0, 0.0], [3e30, 4e30]])
    assert torch.allclose(unit(vectors), torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]))


def test_linf_start_covers_the_ball():
    x = torch.full((64, 100), 0.5)
    start = LinfBall.of(x, 0.1).start(CounterDraws("k", torch.arange(64))) - x
    assert abs(start.mean()) < 0.005
    assert abs(start.var() - 0.2**2 / 12) < 2e-4


def test_a_norm_without_a_ball_is_refused() -> None:
    with pytest.raises(ValueError, match="patch has no ball"):
        ball(torch.zeros(1, 1, 4, 4), Budget("patch", 2.0))
