"""The adapter: names, options, norms, restored failures, rejection, global random state."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from attacks.foolbox import Foolbox
from harness.types import Budget, View


@pytest.mark.parametrize(
    ("name", "norms", "minimal", "needs"),
    [
        ("LinfPGD", ("linf",), False, "gradient"),
        ("L2CarliniWagnerAttack", ("l2",), True, "gradient"),
        ("L0FMNAttack", ("l0",), True, "gradient"),
        ("EADAttack", ("l1",), True, "gradient"),
        ("HopSkipJumpAttack", ("linf", "l2"), True, "decision"),
        ("GaussianBlurAttack", ("linf", "l2", "l0"), True, "decision"),
        ("L2AdditiveGaussianNoiseAttack", ("l2",), False, "decision"),
        ("PointwiseAttack", ("l2", "l0"), True, "decision"),
    ],
)
def test_properties_follow_from_the_class(name, norms, minimal, needs):
    attack = Foolbox(name)
    assert (attack.norms, attack.minimal, attack.needs) == (norms, minimal, needs)


@pytest.mark.parametrize(
    ("name", "message"), [("LinfPDG", "did you mean LinfPGD"), ("SpatialAttack", "bounded by no norm")]
)
def test_bad_names(name, message):
    with pytest.raises(ValueError, match=message):
        _ = Foolbox(name).norms


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Foolbox("LinfPGD", "stepz=3"), "does not take the options 'stepz=3'"),
        (Foolbox("LinfPGD", "steps=3; x"), "options are written"),
        (Foolbox("LinfPGD", "3"), "options are written"),
    ],
)
def test_bad_options(digits, draws, attack, message):
    network, x, y = digits
    with pytest.raises(ValueError, match=message):
        attack.perturb(View.of(network), x, y, Budget("linf", 0.1), draws)


@pytest.mark.parametrize(
    ("attack", "norm"),
    [
        (Foolbox("LinfPGD", "steps=5"), "linf"),
        (Foolbox("L2DeepFoolAttack"), "l2"),
        (Foolbox("L0FMNAttack", "steps=20"), "l0"),
        (Foolbox("HopSkipJumpAttack", "steps=1, max_gradient_eval_steps=100"), "l2"),
        (Foolbox("LinfRepeatedAdditiveUniformNoiseAttack", "repeats=5"), "linf"),
    ],
)
@pytest.mark.parametrize("system", ["plain", "detecting"])
def test_inside_ball_and_box_and_repeatable(digits, draws, detecting, attack, norm, system):
    network, x, y = (part[:16] if isinstance(part, torch.Tensor) else part for part in digits)
    view, draws = detecting if system == "detecting" else View.of(network), draws[torch.arange(16)]
    budget = Budget(norm, float("inf") if attack.minimal else 0.1)
    before, state = x.clone(), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())
    attacked = attack.perturb(view, x, y, budget, draws)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()
    assert torch.equal(x, before)
    assert torch.equal(attack.perturb(view, x, y, budget, draws), attacked)
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    if attack.minimal:
        moved = (attacked != x).flatten(1).any(1)
        assert torch.equal(view.fooled(attacked, x, y, float("inf"), draws), moved)
    else:
        assert (attacked - x).abs().max() <= 0.1 * (1 + 1e-6)


def test_a_failed_minimal_attack_restores_the_input(digits, draws):
    _, x, y = digits
    view = View.of(lambda z: torch.nn.functional.one_hot(y, 10).float() + 0 * z.sum((1, 2, 3))[:, None])
    attack = Foolbox("L2CarliniWagnerAttack", "steps=3, binary_search_steps=2")
    assert torch.equal(attack.perturb(view, x, y, Budget("l2", float("inf")), draws), x)


def test_gradient_attack_is_led_to_acceptance(digits, draws, detecting):
    _, x, y = digits
    bright = x.clone()
    bright[:, :, ::7, ::7] = 0.35
    attacked = Foolbox("LinfPGD", "steps=40").perturb(detecting, bright, y, Budget("linf", 0.2), draws)
    assert detecting.forward(attacked, draws).fooled(y).float().mean() > 0.5


def test_decisions_suffice_where_no_gradient_is_offered(digits, draws, detecting):
    _, x, y = (part[:8] if isinstance(part, torch.Tensor) else part for part in digits)
    view = View(detecting.decide, detecting.fooled, num_classes=10)
    attack = Foolbox("BoundaryAttack", "steps=20")
    attacked = attack.perturb(view, x, y, Budget("l2", float("inf")), draws[torch.arange(8)])
    moved = (attacked != x).flatten(1).any(1)
    assert torch.equal(view.fooled(attacked, x, y, float("inf"), draws), moved)
    assert moved.any()
