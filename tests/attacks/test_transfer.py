"""Transfer: what the source's gradients give, and nothing of the system's."""

from __future__ import annotations

import pytest
import torch

from attacks.carlini_wagner import CarliniWagner
from attacks.patch_pgd import PatchPGD
from attacks.pgd import PGD
from attacks.transfer import Transfer
from harness.types import Budget, View


def test_is_the_nested_attack_on_the_source(digits, draws):
    network, x, y = digits
    blind = View(decide=None, fooled=None, early_exit=True)
    given = Transfer().perturb(blind, x, y, Budget("linf", 0.1), draws, source=network, attack=PGD(steps=5))
    assert torch.equal(given, PGD(steps=5).perturb(View.of(network), x, y, Budget("linf", 0.1), draws))


def test_minimal_inputs_are_pulled_into_the_ball(digits, draws):
    network, x, y = digits
    attack = CarliniWagner(steps=30, constants=3, constant=0.1)
    given = Transfer().perturb(View.of(network), x, y, Budget("l2", 0.2), draws, source=network, attack=attack)
    assert (given - x).flatten(1).norm(dim=1).max() <= 0.2 * (1 + 1e-6)


def test_a_norm_that_the_nested_attack_lacks_is_an_error(digits, draws):
    network, x, y = digits
    with pytest.raises(ValueError, match="works in l2 only"):
        Transfer().perturb(View.of(network), x, y, Budget("linf", 0.1), draws, source=network, attack=CarliniWagner())


def test_patches_of_another_network(digits, draws):
    network, x, y = digits
    blind, budget, attack = View(decide=None, fooled=None), Budget("patch", 3.0), PatchPGD(steps=4)
    given = Transfer().perturb(blind, x, y, budget, draws, source=network, attack=attack)
    assert torch.equal(given, attack.perturb(View.of(network), x, y, budget, draws))
