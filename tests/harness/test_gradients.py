"""Estimators of gradients: true values, and the gradient that closed forms ask for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.draws import CounterDraws
from harness.gradients import Count, bpda, counted, estimated, expectation, replaced, unrolled
from harness.types import Draws, Outputs


def draws(number: int) -> CounterDraws:
    return CounterDraws("tests", torch.arange(number))


def noisy(x: Tensor, mine: Draws) -> Outputs:
    logits = x + mine.normal(x.shape[1])
    return Outputs(logits, logits.sum(1))


def test_bpda_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    x = torch.rand(3, 4, requires_grad=True)
    value = bpda(torch.round, lambda z: z**2)(x)
    assert torch.equal(value, x.round())
    assert torch.allclose(torch.autograd.grad(value.sum(), x)[0], 2 * x)


@pytest.mark.parametrize("number", [1, 3, 700])
def test_expectation_is_the_mean_over_streams_however_many_fit_in_a_pass(number: int) -> None:
    x = torch.rand(5, 3)
    outputs = expectation(noisy, number)(x, draws(5))
    single = [noisy(x, draws(5) if number == 1 else draws(5).stream(i)) for i in range(number)]
    assert torch.allclose(outputs.logits, torch.stack([o.logits for o in single]).mean(0), atol=1e-5)
    assert outputs.margin is not None
    assert torch.allclose(outputs.margin, torch.stack([o.logits.sum(1) for o in single]).mean(0), atol=1e-4)


def test_expectation_gives_every_input_its_own_draws() -> None:
    x, rows = torch.rand(6, 3), torch.tensor([4, 1])
    whole, part = expectation(noisy, 4)(x, draws(6)), expectation(noisy, 4)(x[rows], draws(6)[rows])
    assert torch.allclose(whole.logits[rows], part.logits, atol=1e-6)


def test_expectation_lets_a_part_ask_for_some_rows() -> None:
    def second_only(x: Tensor, mine: Draws) -> Outputs:
        mask = torch.arange(len(x)) % 2 == 1
        logits = x.clone()
        logits[mask] += mine[mask].stream("more").uniform(x.shape[1])
        return Outputs(logits)

    x = torch.zeros(4, 2)
    outputs = expectation(second_only, 3)(x, draws(4))
    assert torch.equal(outputs.logits[::2], torch.zeros(2, 2))
    assert bool((outputs.logits[1::2] > 0).all())


def test_unrolled_differentiates_every_step() -> None:
    def step(z: Tensor, x: Tensor) -> Tensor:
        return z - 0.1 * (z - x**2)

    x = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    found = unrolled(step, 5)(torch.zeros_like(x), x)
    expected = (1 - 0.9**5) * x**2
    assert torch.allclose(found, expected)
    assert torch.allclose(torch.autograd.grad(found.sum(), x)[0], (1 - 0.9**5) * 2 * x)


def test_estimated_gradient_approaches_that_of_a_linear_function() -> None:
    weights = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    calls = []

    def hidden(x: Tensor, mine: Draws) -> Outputs:
        calls.append(len(x))
        return Outputs((x.flatten(1) @ weights).detach())

    x = torch.full((2, 3, 4), 0.5, requires_grad=True)
    outputs = estimated(hidden, number=3000, sigma=0.01)(x, draws(2))
    slope = torch.autograd.grad(outputs.logits[:, 1].sum(), x)[0].flatten(1)
    cosine = torch.nn.functional.cosine_similarity(slope, weights[None, :, 1])
    assert bool((cosine > 0.98).all())
    assert len(calls) == 1 + 2 * 3000


def test_replaced_asks_the_stand_in_only_where_a_gradient_is_wanted() -> None:
    asked = []

    def stand_in(x: Tensor, mine: Draws) -> Outputs:
        asked.append(1)
        return Outputs(3 * x, x.sum(1))

    forward = replaced(lambda x, mine: Outputs(x.round(), x.round().sum(1)), stand_in)
    x = torch.rand(2, 3, requires_grad=True)
    with torch.no_grad():
        forward(x, draws(2))
    assert not asked
    outputs = forward(x, draws(2))
    assert torch.equal(outputs.logits, x.round())
    assert torch.allclose(torch.autograd.grad(outputs.logits.sum(), x)[0], torch.full_like(x, 3))


def test_counting_sees_a_gradient_of_logits_margin_or_both_once() -> None:
    count = Count()
    forward = counted(lambda x, mine: Outputs(x * 2, x.sum(1)), count)
    x = torch.rand(4, 3, requires_grad=True)
    outputs = forward(x, draws(4))
    assert outputs.margin is not None
    torch.autograd.grad(outputs.logits.sum() + outputs.margin.sum(), x)
    assert (count.forwards, count.backwards) == (4, 4)
