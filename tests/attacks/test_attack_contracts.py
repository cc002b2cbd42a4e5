"""What every attack promises: ball and box, x untouched, the same answer whatever the companions, odd inputs."""

from __future__ import annotations

import pytest
import torch

from attacks.apgd import APGD
from attacks.autoattack import AutoAttack
from attacks.carlini_wagner import CarliniWagner
from attacks.fab import FAB
from attacks.fgsm import FGSM
from attacks.foolbox import Foolbox
from attacks.grey_patch import GreyPatch
from attacks.noise import Noise
from attacks.patch_nag import PatchNAG
from attacks.patch_pgd import PatchPGD
from attacks.pgd import PGD
from attacks.square import Square
from harness.draws import CounterDraws
from harness.rounding import distance
from harness.types import Budget, View

CASES = [
    (attack, norm)
    for attack in (
        Noise(),
        FGSM(),
        PGD(steps=5),
        PGD(steps=3, restarts=2, momentum=0.9, targeted=2),
        GreyPatch(),
        PatchPGD(steps=4, restarts=2),
        PatchNAG(steps=4, height=1),
        APGD(steps=12),
        APGD(steps=20, loss="dlr", targets=2, first_target=2, give_up=True),
        FAB(steps=12, targets=3, restarts=2),
        Square(queries=40),
    )
    for norm in attack.norms
] + [(CarliniWagner(steps=30, constants=4, constant=0.1), "l2"), (AutoAttack(give_up=True), "linf")]
EPSILON = {"linf": 0.07, "l2": 0.5, "l1": 2.0, "l0": 4.0, "patch": 3.0}


@pytest.mark.parametrize(
    ("attack", "values"),
    [
        (PGD, {"steps": 0}),
        (PGD, {"samples": 0}),
        (Noise, {"repeats": -1}),
        (CarliniWagner, {"constants": 0}),
        (APGD, {"first_target": 0}),
    ],
)
def test_counts_below_one_are_refused(attack, values):
    with pytest.raises(ValueError, match="expected at least 1"):
        attack(**values)


@pytest.fixture(params=[False, True], ids=["all steps", "early exit"])
def early_exit(request):
    return request.param


@pytest.mark.parametrize(("attack", "norm"), CASES)
def test_contract(digits, draws, attack, norm, early_exit):
    network, x, y = digits
    view = View.of(network, early_exit=early_exit)
    budget = Budget(norm, float("inf") if attack.minimal else EPSILON[norm])
    before = x.clone()
    attacked = attack.perturb(view, x, y, budget, draws)
    assert torch.equal(x, before)
    assert attacked.shape == x.shape
    assert attacked.dtype == x.dtype
    assert not attacked.requires_grad
    assert torch.isfinite(attacked).all()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    length = distance(attacked, x, norm)
    assert (length <= budget.epsilon * (1 + 1e-6)).all()
    assert torch.equal(attack.perturb(view, x, y, budget, draws), attacked)
    rows = torch.tensor([40, 3, 17])
    alone = attack.perturb(view, x[rows], y[rows], budget, draws[rows])
    assert torch.allclose(alone, attacked[rows], atol=1e-3)
    assert torch.equal(network(alone).argmax(1), network(attacked[rows]).argmax(1))


@pytest.mark.parametrize(("attack", "norm"), [*CASES, (Foolbox("LinfPGD", "steps=3"), "linf")])
def test_no_inputs_one_input_black_and_white(digits, attack, norm):
    network = digits[0]
    budget = Budget(norm, float("inf") if attack.minimal else EPSILON[norm])
    for x in (torch.empty(0, 1, 8, 8), torch.zeros(1, 1, 8, 8), torch.ones(2, 1, 8, 8)):
        view, y = View.of(network, early_exit=True), network(x).argmax(1)
        attacked = attack.perturb(view, x, y, budget, CounterDraws("k", torch.arange(len(x))))
        assert attacked.shape == x.shape
        assert torch.isfinite(attacked).all()


@pytest.mark.parametrize(("attack", "norm"), [case for case in CASES if case[1] != "l0"])
def test_network_that_returns_nan(digits, draws, attack, norm):
    network, x, y = digits
    view = View.of(lambda z: network(z) * torch.where(z.flatten(1).mean(1, keepdim=True) > 0.3, torch.nan, 1.0))
    budget = Budget(norm, float("inf") if attack.minimal else EPSILON[norm])
    assert torch.isfinite(attack.perturb(view, x, y, budget, draws)).all()
