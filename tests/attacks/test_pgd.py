"""The projected search: one step, many steps, early exit, targets, detectors, and beside foolbox."""

from __future__ import annotations

import foolbox
import pytest
import torch
from torch.nn.functional import cross_entropy

from attacks._search import ascent_direction
from attacks.fgsm import FGSM
from attacks.pgd import PGD
from harness.gradients import Count, counted
from harness.types import Budget, Outputs, View


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("l2", 0.3)])
def test_one_whole_step_from_x_is_fgsm(digits, draws, norm, epsilon):
    network, x, y = digits
    budget, view = Budget(norm, epsilon), View.of(network)
    step = FGSM().perturb(view, x, y, budget, draws)
    search = PGD(steps=1, step_size=1.0, random_start=False).perturb(view, x, y, budget, draws)
    assert torch.allclose(step, search, atol=1e-6)


def test_reaches_the_corner_of_the_ball_that_is_worst_for_a_linear_model(linear, draws):
    x, y = torch.full((4, 12), 0.5), torch.zeros(4, dtype=torch.long)
    draws = draws[torch.arange(4)]
    attacked = PGD(steps=20).perturb(View.of(linear), x, y, Budget("linf", 0.2), draws)
    assert torch.allclose(attacked, x + 0.2 * linear.w.sign(), atol=1e-6)
    attacked = PGD(steps=40, random_start=False).perturb(View.of(linear), x, y, Budget("l2", 0.2), draws)
    assert torch.allclose(attacked, x + 0.2 * linear.w / linear.w.norm(), atol=1e-3)


@pytest.mark.parametrize(("norm", "epsilon", "peer"), [("linf", 0.08, "LinfPGD"), ("l2", 0.5, "L2PGD")])
def test_breaks_what_foolbox_breaks(digits, draws, norm, epsilon, peer):
    network, x, y = digits
    search = PGD(steps=40, step_size=0.1, random_start=False)
    attacked = search.perturb(View.of(network), x, y, Budget(norm, epsilon), draws)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = getattr(foolbox.attacks, peer)(rel_stepsize=0.1, steps=40, random_start=False)
    _, _, theirs = attack(model, x, y, epsilons=epsilon)
    mine = network(attacked).argmax(1) != y
    assert 0.2 < theirs.float().mean() < 0.98
    assert (theirs & ~mine).sum() == 0


@pytest.mark.parametrize("attack", [PGD(steps=10), PGD(steps=10, restarts=2, momentum=0.5), PGD(steps=10, targeted=3)])
def test_early_exit_breaks_the_same_inputs_for_less(digits, draws, attack):
    network, x, y = digits
    success, counts = [], []
    for early_exit in (False, True):
        view, count = View.of(network, early_exit=early_exit), Count()
        view = View(view.decide, view.fooled, counted(view.forward, count), early_exit=early_exit)
        success.append(network(attack.perturb(view, x, y, Budget("linf", 0.08), draws)).argmax(1) != y)
        counts.append(count)
    assert torch.equal(*success)
    assert success[0].float().mean() > 0.2
    assert counts[1].forwards < counts[0].forwards
    assert counts[1].backwards < counts[0].backwards


def test_counts_one_forward_more_than_steps(digits, draws):
    network, x, y = digits
    view, count = View.of(network), Count()
    view = View(view.decide, view.fooled, counted(view.forward, count), early_exit=False)
    PGD(steps=7).perturb(view, x, y, Budget("linf", 0.05), draws)
    assert (count.forwards, count.backwards) == (8 * len(x), 7 * len(x))


def test_keeps_the_strongest_iterate_not_the_last(digits, draws):
    network, x, y = digits
    seen = []

    def forward(z, _):
        seen.append(z.detach().clone())
        return Outputs(network(z))

    view = View(decide=None, fooled=None, forward=forward, early_exit=False)
    attacked = PGD(steps=12, step_size=1.0).perturb(view, x, y, Budget("linf", 0.15), draws)
    logits = torch.stack([network(z) for z in seen])
    wrong = (logits.argmax(2) != y).any(0)
    assert torch.equal(network(attacked).argmax(1) != y, wrong)
    losses = torch.stack([cross_entropy(z, y, reduction="none") for z in logits])
    assert (cross_entropy(network(attacked), y, reduction="none") >= losses.mean(0)).all()


def test_targets_are_reached(digits, draws):
    network, x, y = digits
    target = network(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    attacked = PGD(targeted=1).perturb(View.of(network), x, y, Budget("linf", 0.3), draws)
    assert (network(attacked).argmax(1) == target).float().mean() > 0.9


def test_among_the_wrong_the_best_accepted(digits, draws, detecting):
    _, x, y = digits
    bright = x.clone()
    bright[:, :, ::7, ::7] = 0.35  # every clean input is rejected
    budget = Budget("linf", 0.2)
    blind = PGD(weight=0.0).perturb(detecting, bright, y, budget, draws)
    aware = PGD(weight=1.0).perturb(detecting, bright, y, budget, draws)
    fooled = [detecting.forward(z, draws).fooled(y).float().mean() for z in (bright, blind, aware)]
    assert fooled[0] == 0
    assert fooled[2] > max(0.5, fooled[1] - 0.05)


def test_an_input_leaves_only_when_the_harness_confirms(digits, draws):
    network, x, y = digits
    asked = []

    def never(candidate, x, y, epsilon, draws):
        asked.append((len(candidate), epsilon))
        return torch.zeros(len(candidate), dtype=torch.bool)

    view = View(decide=None, fooled=never, forward=lambda z, _: Outputs(network(z)), early_exit=True)
    attacked = PGD(steps=5).perturb(view, x, y, Budget("linf", 0.2), draws)
    assert asked
    assert all(number <= len(x) and epsilon == 0.2 for number, epsilon in asked)
    assert (network(attacked).argmax(1) != y).any()


def test_random_systems_get_other_draws_each_step(digits, draws):
    network, x, y = digits
    noises = []

    def forward(z, mine):
        noises.append(mine.uniform(1)[:, :, None, None])
        return Outputs(network(z + 0.1 * noises[-1]))

    view = View(decide=None, fooled=None, forward=forward, early_exit=False, random=True)
    PGD(steps=3, samples=2).perturb(view, x, y, Budget("linf", 0.1), draws)
    assert len(noises) == 4
    assert all(len(noise) == 2 * len(x) for noise in noises)  # both draws in one pass
    noises = [half for noise in noises for half in noise.chunk(2)]
    assert len({float(noise[0]) for noise in noises}) == 4 * 2


def test_gradients_that_are_not_finite_or_missing_are_zero(digits, draws):
    network, x, y = digits

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z.clone()

        @staticmethod
        def backward(ctx, gradient):
            return torch.where(torch.arange(64).view(8, 8) % 2 == 0, torch.nan, gradient)

    view = View.of(lambda z: network(Broken.apply(z)))
    attacked = PGD(steps=3, random_start=False).perturb(view, x, y, Budget("linf", 0.1), draws)
    even = (attacked - x).abs().flatten(1)[:, ::2]
    assert torch.isfinite(attacked).all()
    assert (even == 0).all()
    assert (attacked != x).any()
    constant = PGD(steps=2, random_start=False).perturb(View.of(lambda z: network(x)), x, y, Budget("l2", 0.1), draws)
    assert torch.equal(constant, x)
    assert torch.equal(ascent_direction(torch.ones(3), torch.ones(3, 2)), torch.zeros(3, 2))
