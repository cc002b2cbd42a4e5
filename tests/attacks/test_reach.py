"""Who gives up a search, and what that costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from attacks._reach import HOPE, STEPS, Reach
from attacks.apgd import APGD
from attacks.fab import FAB
from attacks.square import Square
from harness.gradients import Count, counted
from harness.types import Budget, View


def walked(lacks, steps=100, goal=0.0):
    """Which of the inputs, whose lack after each step is given, have given up after the last of them."""
    reach = Reach.of(torch.tensor(lacks[0]))
    lost = torch.zeros(len(lacks[0]), dtype=torch.bool)
    for step, lack in enumerate(lacks):
        reach = reach.after(torch.tensor(lack))
        lost |= reach.lost(step, steps, goal=goal)
        reach = reach.marked(step)
    return lost.tolist()


def test_nobody_leaves_before_the_first_look():
    assert walked([[9.0, 9.0]] * STEPS) == [False, False]
    assert walked([[9.0, 9.0]] * (STEPS + 1)) == [True, True]


def test_what_stands_still_is_lost_and_what_moves_is_not():
    still = [9.0] * 5 + [4.0] * 28  # all of its progress early: 5, a quarter of which may still come after 32 steps
    steady = [9.0 - 1.5 * math.log2(step + 1) for step in range(33)]
    close = [9.0] * 5 + [1.0] * 28
    assert walked([list(row) for row in zip(still, steady, close, strict=True)]) == [True, False, False]


def test_the_last_gain_counts_once_for_every_doubling_left():
    lacks = [[2.0]] + [[2.0]] * 4 + [[2.0 - 0.25]] * 4  # gained 0.25 from step 4 to step 8
    least, progress = 1.75, 0.25
    hope = HOPE * 0.25  # a doubling
    doublings = (least - progress) / hope
    assert walked(lacks, steps=int(8 * 2**doublings) + 1) == [False]
    assert walked(lacks, steps=int(8 * 2**doublings) - 1) == [True]


def test_who_surpasses_other_attacks_stays_and_who_does_not_is_stuck():
    begun = torch.tensor([4.0, 0.1, 4.0])
    reach = Reach.of(torch.tensor([4.5, 9.0, 4.5]), begun)
    least, lost = torch.tensor([4.0, 0.1, 3.9]), []  # no hope; near, but stuck; no hope, but ahead of the others
    for step in (8, 16, 32, 64):
        reach = reach.after(least)
        lost.append(reach.lost(step, 1000).tolist())
        reach = reach.marked(step)
    assert lost == [[True, False, False]] * 3 + [[True, True, False]]


def test_a_goal_of_its_own_and_lacks_that_are_not_finite():
    infinite = [[float("inf"), 3.0]] * 9
    assert walked(infinite, goal=torch.tensor([0.0, 3.5])) == [True, False]
    assert walked([[float("nan")]] * 9) == [False]


@pytest.mark.parametrize(
    ("attack", "norm", "epsilon"),
    [
        (APGD(loss="margin"), "linf", 0.06),
        (APGD(loss="dlr", targets=9), "l2", 0.45),
        (Square(queries=4000), "linf", 0.06),
        (FAB(), "linf", 0.06),
    ],
)
def test_giving_up_breaks_the_same_inputs_for_less(digits, draws, attack, norm, epsilon):
    network, x, y = digits
    broken, counts = [], []
    for give_up in (False, True):
        count, view = Count(), View.of(network, early_exit=True)
        view = replace(view, forward=counted(view.forward, count))
        found = replace(attack, give_up=give_up).perturb(view, x, y, Budget(norm, epsilon), draws)
        broken.append(network(found).argmax(1) != y)
        counts.append(count)
    assert 0.1 < broken[0].float().mean() < 0.9
    assert torch.equal(*broken)
    assert counts[1].forwards < 0.6 * counts[0].forwards


def test_a_minimal_attack_that_gives_up_is_as_near(digits, draws):
    network, x, y = digits
    far = []
    for give_up in (False, True):
        found = FAB(give_up=give_up).perturb(View.of(network), x, y, Budget("l2", float("inf")), draws)
        far.append((found - x).flatten(1).norm(dim=1))
    assert (far[1] <= 1.01 * far[0]).all()


def test_nobody_gives_up_where_all_steps_are_asked_for(digits, draws):
    network, x, y = digits
    view, count = View.of(network, early_exit=False), Count()
    view = replace(view, forward=counted(view.forward, count))
    APGD(steps=40, give_up=True).perturb(view, x, y, Budget("linf", 0.01), draws)
    assert count.backwards == 40 * len(x)
