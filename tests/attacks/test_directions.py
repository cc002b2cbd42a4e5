"""Directions of two goals, on a linear system whose gradients are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attacks._directions import (
    BEYOND,
    feature_matching,
    joint,
    matching,
    orthogonal,
    score_only,
    selective,
    through_decoder,
    with_objective,
)
from attacks._loss import margin
from harness.draws import CounterDraws
from harness.types import Outputs

CLASSES, SCORE = torch.tensor([1.0, 0.0, 2.0, 0.0]), torch.tensor([1.0, 3.0, 0.0, 0.0])


def outputs(x: Tensor, threshold: float = -10.0) -> Outputs:
    """Class 1 gains along CLASSES from -1 on, the score grows along SCORE and is far above its threshold."""
    value = x @ CLASSES - 1
    return Outputs(torch.stack([-value / 2, value / 2], 1), x @ SCORE - threshold)


def taken(direction: object, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    value, slope = direction(outputs(leaf), y, leaf)  # type: ignore[operator]
    return value, slope


RIGHT, WRONG = torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 1.0, 0.0]])
LABEL = torch.zeros(1, dtype=torch.long)


def test_the_joint_loss_weighs_the_score() -> None:
    _, slope = taken(joint(margin, 0.5), RIGHT, LABEL)
    assert torch.allclose(slope[0], CLASSES - 0.5 * SCORE)


def test_selective_steps_take_the_class_first_and_then_the_score() -> None:
    low, first = taken(selective(margin), RIGHT, LABEL)
    high, second = taken(selective(margin), WRONG, LABEL)
    assert torch.allclose(first[0], CLASSES)
    assert torch.allclose(second[0], -SCORE)
    assert float(high) > float(low)


@pytest.mark.parametrize(("spare", "x"), [("score", RIGHT), ("label", WRONG)])
def test_orthogonal_steps_leave_the_other_goal_alone(spare: str, x: Tensor) -> None:
    _, slope = taken(orthogonal(margin, spare=spare), x, LABEL)
    other = SCORE if spare == "score" else CLASSES
    assert float(slope[0] @ other) == pytest.approx(0, abs=1e-5)
    assert float(slope.norm()) > 0


@pytest.mark.parametrize(("spare", "x", "plain"), [("score", WRONG, -SCORE), ("label", RIGHT, CLASSES)])
def test_only_one_of_the_two_gradients_is_projected(spare: str, x: Tensor, plain: Tensor) -> None:
    _, slope = taken(orthogonal(margin, spare=spare), x, LABEL)
    assert torch.allclose(slope[0], plain)


def test_orthogonal_values_rank_the_wrong_above_the_right() -> None:
    low, _ = taken(orthogonal(margin, spare="score"), RIGHT, LABEL)
    high, _ = taken(orthogonal(margin, spare="score"), WRONG, LABEL)
    assert float(low) < BEYOND - 1 + 1e-6
    assert float(high) > float(low)


def test_the_score_alone() -> None:
    _, slope = taken(score_only(), RIGHT, LABEL)
    assert torch.allclose(slope[0], -SCORE)


def test_matching_leads_to_the_guides_logits_and_stops_there() -> None:
    guide = outputs(WRONG).logits
    leaf = RIGHT.clone().requires_grad_()
    value, slope = matching(0.0)(outputs(leaf), guide, leaf)
    assert float(slope[0] @ CLASSES) > 0
    leaf = WRONG.clone().requires_grad_()
    best, none = matching(0.0)(outputs(leaf), guide, leaf)
    assert float(best) == 0 > float(value)
    assert float(none.abs().max()) == 0


def test_features_are_matched_by_their_own_pass() -> None:
    draws = CounterDraws("tests", torch.arange(1))
    direction = feature_matching(lambda x, mine: 2 * x, draws, 0.0)
    leaf = RIGHT.clone().requires_grad_()
    goal = 2 * WRONG
    _, slope = direction(outputs(leaf), goal, leaf)
    assert float(torch.nn.functional.cosine_similarity(slope, WRONG)) == pytest.approx(1)


def test_a_purifiers_objective_is_kept_low() -> None:
    leaf = (RIGHT + 0.5).requires_grad_()
    direction = with_objective(margin, lambda x: x[:, 3] ** 2, 1.0)
    _, slope = direction(outputs(leaf), LABEL, leaf)
    assert float(slope[0, 3]) < 0


def test_a_latent_step_lies_in_the_decoders_range() -> None:
    basis = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    direction = through_decoder(margin, lambda x: x @ basis.T, lambda z: z @ basis)
    leaf = RIGHT.clone().requires_grad_()
    _, slope = direction(Outputs(outputs(leaf).logits), LABEL, leaf)
    assert torch.allclose(slope[0], torch.tensor([1.0, 0.0, 0.0, 0.0]))
