"""The menu, the pilot that cuts it, and what the attack that uses it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attacks._menu import MOST, Confined, Entry, another_class, menu
from attacks._search import Best
from attacks.adaptive import Adaptive, _Found
from attacks.pgd import PGD
from harness.draws import CounterDraws
from harness.gradients import Count
from harness.system import Curve, Judge, System
from harness.types import Budget, Draws, Loaded, Split, View
from harness.views import Knowledge, view

Digits = tuple[nn.Module, Tensor, Tensor]
BUDGET = Budget("linf", 0.15)


def seen(digits: Digits, *parts: Loaded, **evidence: object) -> View:
    network, x, y = digits
    detects = any(part.role == "detector" for part in parts)
    system = System(network, parts)
    if detects:
        draws = CounterDraws("calibrate", torch.arange(len(x)))
        (scores,) = system.scores(x, draws)[1]
        curve = Curve.of(scores)
        system = replace(system, curves=(curve,), threshold=float(curve(scores).max()))
    clean = Split(x, y, torch.arange(len(x)), 10, None, CounterDraws("clean", torch.arange(len(x))))
    known = Knowledge(dict(evidence), {}, clean)
    return view(Judge(system, "linf", None), num_classes=10, early_exit=True, count=Count(), knowledge=known)


def corner(x: Tensor) -> Tensor:
    return x[:, 0, ::7, ::7].mean((1, 2))


DETECTOR = Loaded("detector", "corner", corner)


def test_names_say_what_an_entry_is() -> None:
    names = [entry.name for entry in (Entry("own", "margin"), Entry("smooth", "joint 1", "ends", "other", 5))]
    assert names == ["own/margin", "smooth/joint 1, 5 draws, off the ends, from another class"]


@pytest.mark.parametrize("estimators", [["own"], ["own", "identity", "smooth", "unrolled", "removed", "estimated"]])
@pytest.mark.parametrize("parts", [(), (DETECTOR,), (Loaded("purifier", "half", lambda x: x / 2 + 0.25),)])
def test_the_menu_fits_the_system(digits: Digits, parts: tuple[Loaded, ...], estimators: list[str]) -> None:
    entries = menu(seen(digits, *parts, estimators=estimators))
    assert 5 <= len(entries) <= MOST
    assert len({entry.name for entry in entries}) == len(entries)
    assert {entry.gradient for entry in entries} == set(estimators)
    assert any("selective" in entry.aim for entry in entries) == (DETECTOR in parts)


def test_every_gradient_is_tried_with_the_plainest_aims(digits: Digits) -> None:
    names = ["own", "smooth", "estimated"]
    listed = {entry.name for entry in menu(seen(digits, estimators=names))}
    assert {f"{name}/{aim}" for name in names for aim in ("margin", "cross-entropy")} <= listed
    listed = {entry.name for entry in menu(seen(digits, DETECTOR, estimators=names))}
    assert {f"{name}/{aim}" for name in names for aim in ("joint 1", "joint 5", "selective")} <= listed


def test_a_random_system_is_attacked_with_one_and_with_many_draws(digits: Digits) -> None:
    noisy = Loaded("purifier", "noise", lambda x, draws: x + 0 * draws.uniform(*x.shape[1:]), random=True)
    assert {entry.samples for entry in menu(seen(digits, noisy))} == {5, 20}


def test_every_entry_of_the_menu_runs_and_stays_in_the_ball(digits: Digits, draws: CounterDraws) -> None:
    view = seen(digits, DETECTOR, estimators=["own", "smooth", "unrolled", "estimated"])
    _, x, y = digits
    for entry in menu(view):
        found = Adaptive(steps=4, kept=1).perturb(view, x, y, BUDGET, draws, pilot={"kept": [entry.name]})
        assert float((found - x).abs().max()) <= BUDGET.epsilon + 1e-6
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1


def fooled(view: View, x: Tensor, found: Tensor, y: Tensor, draws: Draws) -> int:
    return int(view.fooled(found, x, y, BUDGET.epsilon, draws).sum())


def test_it_breaks_what_one_gradient_attack_breaks(digits: Digits, draws: CounterDraws) -> None:
    view = seen(digits, DETECTOR, estimators=["own"])
    _, x, y = digits
    attack = Adaptive(steps=40, trial=64)
    _, record = attack.pilot(view, x, y, BUDGET, draws)
    mine = fooled(view, x, attack.perturb(view, x, y, BUDGET, draws, pilot=record), y, draws)
    other = fooled(view, x, PGD(steps=120).perturb(view, x, y, BUDGET, draws), y, draws)
    assert mine >= other - 1


def test_a_detector_without_a_gradient_is_attacked_through_its_own_code(digits: Digits, draws: CounterDraws) -> None:
    def steps(x: Tensor) -> Tensor:
        return (corner(x) * 20).round() / 20

    view = seen(digits, Loaded("detector", "steps", steps), estimators=["smooth"])
    _, x, y = digits
    attack = Adaptive(steps=40, trial=64)
    _, record = attack.pilot(view, x, y, BUDGET, draws)
    assert all(name.startswith("smooth/") for name in record["kept"])
    assert fooled(view, x, attack.perturb(view, x, y, BUDGET, draws, pilot=record), y, draws) > 20


def test_the_pilot_keeps_attacks_that_complement_each_other(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    _, record = Adaptive(steps=20, trial=64).pilot(seen(digits, estimators=["own"]), x, y, BUDGET, draws)
    assert len(record["kept"]) == 3
    assert record["inputs"] == len(x)
    assert max(record["fell"].values()) <= len(x) - record["standing"]


def test_of_several_attacks_those_are_kept_that_break_most_together() -> None:
    """The second breaks fewer inputs than the first and none besides; the third two that nobody else breaks."""
    x, rows = torch.zeros(10, 1), torch.arange(10)
    found = _Found.of(x, rows)
    entries = [
        Entry("own", "margin"),
        Entry("own", "cross-entropy"),
        Entry("own", "target 1"),
        Entry("own", "target 2"),
    ]
    for entry, fell in zip(entries, [range(6), range(5), range(6, 8), ()], strict=True):
        best = Best.of(x)
        best.broken[list(fell)] = True
        best.strength[:] = -1.0
        found.put(entry, best, rows)
    assert [entry.aim for entry in found.chosen(entries, 2)] == ["margin", "target 1"]


def test_a_pilot_with_nobody_left_keeps_the_first(digits: Digits) -> None:
    _, x, y = digits
    nobody = CounterDraws("tests", torch.arange(0))
    answer, record = Adaptive().pilot(seen(digits), x[:0], y[:0], BUDGET, nobody)
    assert len(answer) == 0
    assert len(record["kept"]) == 3


def test_what_broke_an_input_is_noted(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    notes: list[tuple[str, int, str]] = []

    def note(name: str, rows: Tensor, values: Tensor | str) -> None:
        if isinstance(values, str):
            notes.append((name, len(rows), values))

    sight = replace(seen(digits), note=note)
    found = Adaptive(steps=30).perturb(sight, x, y, BUDGET, draws)
    assert sum(number for _, number, _ in notes) == fooled(sight, x, found, y, draws)


def test_confined_pixels_stay(digits: Digits, draws: CounterDraws) -> None:
    _, x, y = digits
    view = seen(digits, DETECTOR)
    found = Adaptive(steps=5, kept=1).perturb(view, x, y, BUDGET, draws, pilot={"kept": ["own/joint 1, off the ends"]})
    ends = (x <= 0.02) | (x >= 0.98)
    assert torch.equal(found[ends], x[ends])
    assert not torch.equal(found, x)


def test_a_guide_is_of_another_class_and_the_nearest(digits: Digits) -> None:
    _, x, y = digits
    guide, place = another_class(seen(digits), x, y)
    assert bool((y[place] != y).all())
    distances = torch.cdist(x.flatten(1), x.flatten(1)).masked_fill(y[:, None] == y[None], torch.inf)
    assert torch.equal((guide - x).flatten(1).norm(dim=1), distances.amin(1)) or torch.allclose(
        (guide - x).flatten(1).norm(dim=1), distances.amin(1), atol=1e-4
    )


@pytest.mark.parametrize("parameter", ["steps", "trial", "first", "kept"])
def test_bad_parameters(parameter: str) -> None:
    with pytest.raises(ValueError, match=parameter):
        Adaptive(**{parameter: 0})


def test_a_confined_set_is_cut_with_its_rows(digits: Digits) -> None:
    from attacks._ball import ball

    _, x, _ = digits
    confined = Confined(ball(x, BUDGET), x > 0.5)[torch.tensor([3, 1])]
    assert torch.equal(confined.x, x[[3, 1]])
    assert torch.equal(confined.mask, x[[3, 1]] > 0.5)
