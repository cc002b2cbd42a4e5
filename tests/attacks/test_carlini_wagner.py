"""The minimal distance in closed form, on the grid, beside foolbox, and through a detector."""

from __future__ import annotations

import foolbox
import torch

from attacks.carlini_wagner import CarliniWagner
from harness.types import Budget, View

BUDGET = Budget("l2", float("inf"))


def test_finds_the_distance_to_a_hyperplane(linear, draws):
    generator = torch.Generator().manual_seed(0)
    x = 0.3 + 0.4 * torch.rand(16, 12, generator=generator)
    y = linear(x).argmax(1)
    attacked = CarliniWagner(steps=300, constant=0.01).perturb(View.of(linear), x, y, BUDGET, draws[torch.arange(16)])
    expected = (x @ linear.w + linear.b).abs() / linear.w.norm()
    assert (linear(attacked).argmax(1) != y).all()
    assert torch.allclose((attacked - x).norm(dim=1), expected, rtol=0.02, atol=1e-4)


def test_pixels_at_zero_and_one_are_free_to_move(draws):
    w = torch.tensor([1.0, 0.0, -1.0, 0.0])
    x, y = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0])

    def logits(z):
        value = z @ w + 0.6  # at x: -0.4
        return torch.stack([-value / 2, value / 2], 1)

    attacked = CarliniWagner(steps=300, constant=0.01).perturb(View.of(logits), x, y, BUDGET, draws[torch.arange(1)])
    assert torch.allclose(attacked, torch.tensor([[0.2, 0.0, 0.8, 1.0]]), atol=0.01)


def test_no_further_than_foolbox_and_as_successful(digits, draws):
    network, x, y = (part[:24] if isinstance(part, torch.Tensor) else part for part in digits)
    search = CarliniWagner(steps=200, constants=6, constant=0.01)
    mine = search.perturb(View.of(network), x, y, BUDGET, draws[torch.arange(24)])
    attack = foolbox.attacks.L2CarliniWagnerAttack(steps=200, binary_search_steps=6, initial_const=0.01)
    theirs, _, success = attack(foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu"), x, y, epsilons=None)
    assert success.all()
    assert (network(mine).argmax(1) != y).all()
    distance = [(z - x).flatten(1).norm(dim=1) for z in (mine, theirs)]
    assert (distance[0] <= distance[1] * 1.05).all()
    assert distance[0].median() <= distance[1].median()


def test_is_adversarial_after_rounding(digits, draws):
    network, x, y = digits

    def rounded(z):
        return (z * 16).round() / 16

    view = View(
        decide=None,
        fooled=lambda candidate, x, y, epsilon, draws: network(rounded(candidate)).argmax(1) != y,
        forward=View.of(network).forward,
    )
    attacked = CarliniWagner(steps=150, constants=4, constant=0.1).perturb(view, x, y, BUDGET, draws)
    moved = (attacked != x).flatten(1).any(1)
    fooled = network(rounded(attacked)).argmax(1) != y
    assert torch.equal(fooled, moved)
    assert fooled.float().mean() > 0.95


def test_what_it_returns_is_accepted(digits, draws, detecting):
    _, x, y = digits
    bright = x.clone()
    bright[:, :, ::7, ::7] = 0.35
    attacked = CarliniWagner(steps=150, constants=5, constant=0.1).perturb(detecting, bright, y, BUDGET, draws)
    assert detecting.forward(attacked, draws).fooled(y).float().mean() > 0.95


def test_confidence_is_reached(digits, draws):
    network, x, y = digits
    attack = CarliniWagner(steps=100, constants=5, constant=0.1, confidence=2.0)
    attacked = attack.perturb(View.of(network), x, y, BUDGET, draws)
    logits = network(attacked)
    lead = logits.amax(1) - logits.gather(1, y[:, None])[:, 0]
    moved = (attacked != x).flatten(1).any(1)
    assert moved.float().mean() > 0.9
    assert (lead[moved] >= 2.0 - 1e-4).all()
