"""The one step, in closed form and beside foolbox."""

from __future__ import annotations

import foolbox
import pytest
import torch

from attacks._loss import margin
from attacks.fgsm import FGSM
from harness.types import Budget, Outputs, View


def test_margin_falls_by_epsilon_times_the_dual_norm(linear, draws):
    x, y = torch.full((4, 12), 0.5), torch.zeros(4, dtype=torch.long)
    for norm, dual in (("linf", linear.w.abs().sum()), ("l2", linear.w.norm())):
        attacked = FGSM().perturb(View.of(linear), x, y, Budget(norm, 0.1), draws)
        gain = margin(Outputs(linear(attacked)), y) - margin(Outputs(linear(x)), y)
        assert torch.allclose(gain, torch.full((4,), float(0.1 * dual)), atol=1e-5)


@pytest.mark.parametrize(("norm", "epsilon", "peer"), [("linf", 0.1, "LinfFastGradientAttack")])
def test_same_inputs_as_foolbox(digits, draws, norm, epsilon, peer):
    network, x, y = digits
    mine = FGSM().perturb(View.of(network), x, y, Budget(norm, epsilon), draws)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    _, theirs, _ = getattr(foolbox.attacks, peer)()(model, x, y, epsilons=epsilon)
    assert torch.allclose(mine, theirs, atol=1e-6)
