"""Attacks that are given something: others' inputs, a trial first, decisions alone, a detector to set off."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attacks.availability import Availability
from attacks.boundary import Boundary
from attacks.escalate import Escalate
from attacks.hop_skip_jump import HopSkipJump
from attacks.pgd import PGD
from attacks.replay import Replay
from harness.draws import CounterDraws
from harness.types import Budget, Draws, Spec, View

Digits = tuple[nn.Module, Tensor, Tensor]
BUDGET = Budget("linf", 0.2)


def view(digits: Digits) -> View:
    return View.of(digits[0], early_exit=True)


def test_replay_takes_the_first_that_fools_the_system_and_names_its_row(digits: Digits, draws: CounterDraws) -> None:
    network, x, y = digits
    strong = PGD().perturb(view(digits), x, y, BUDGET, draws)
    works = network(strong).argmax(1) != y
    half = strong.clone()
    half[::2] = x[::2]
    told: dict[str, int] = {}
    sight = replace(
        view(digits),
        stored={"half": half, "whole": strong},
        note=lambda name, rows, values: told.update({str(values): told.get(str(values), 0) + len(rows)}),
    )
    found = Replay().perturb(sight, x, y, BUDGET, draws)
    assert torch.equal(network(found).argmax(1) != y, works)
    assert told == {"half": int(works[1::2].sum()), "whole": int(works[::2].sum())}


def test_replay_without_other_rows_gives_the_clean_inputs_back(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    assert torch.equal(Replay().perturb(view(digits), x, y, BUDGET, draws), x)


def test_escalation_stops_after_a_trial_without_success(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    attack = Escalate(Spec.of("attack", "pgd"), trial=10, least=2)
    answer, record = attack.pilot(view(digits), x[:10], y[:10], BUDGET, draws[torch.arange(10)], attack=PGD())
    assert record["fell"] == int((digits[0](answer).argmax(1) != y[:10]).sum()) >= 2
    whole = attack.perturb(view(digits), x, y, BUDGET, draws, attack=PGD(), pilot=record)
    assert torch.equal(whole, PGD().perturb(view(digits), x, y, BUDGET, draws))
    stopped = attack.perturb(view(digits), x, y, BUDGET, draws, attack=PGD(), pilot={"fell": 1})
    assert torch.equal(stopped, x)


def test_escalation_refuses_an_attack_that_does_not_work_in_the_ball(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    with pytest.raises(ValueError, match="escalate was given pgd at l1"):
        Escalate(Spec.of("attack", "pgd")).pilot(view(digits), x, y, Budget("l1", 3.0), draws, attack=PGD())


@pytest.mark.parametrize("attack", [Boundary(steps=60), HopSkipJump(steps=2, evaluations=10)])
def test_decisions_are_all_that_is_asked_for(
    digits: Digits, draws: CounterDraws, attack: Boundary | HopSkipJump
) -> None:
    network, x, y = digits

    def forbidden(x: Tensor, mine: Draws) -> object:
        raise AssertionError("a decision-based attack asked for logits")

    sight = replace(view(digits), forward=forbidden, num_classes=10)  # type: ignore[arg-type]
    found = attack.perturb(sight, x[:8], y[:8], Budget("l2", float("inf")), draws[torch.arange(8)])
    moved = (found != x[:8]).flatten(1).any(1)
    assert bool(moved.all())
    assert bool((network(found).argmax(1) != y[:8]).all())


def test_clean_inputs_are_made_to_be_rejected(digits: Digits, detecting: View, draws: CounterDraws) -> None:
    _, x, y = digits
    assert detecting.forward is not None
    before = detecting.forward(x, draws).margin
    found = Availability(steps=20).perturb(detecting, x, y, BUDGET, draws)
    after = detecting.forward(found, draws).margin
    assert before is not None
    assert after is not None
    corners = x[:, 0, ::7, ::7]
    highest = 10 * ((corners + BUDGET.epsilon).clamp(max=1).mean((1, 2)) - 0.3)  # the score is linear in four pixels
    assert torch.allclose(after, highest, atol=1e-4)


def test_a_system_that_never_rejects_keeps_its_inputs(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    assert torch.equal(Availability().perturb(view(digits), x, y, BUDGET, draws), x)
