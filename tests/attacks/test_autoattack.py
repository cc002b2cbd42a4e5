"""APGD, FAB, Square and the cascade of them: closed forms on a linear network, peers on a small one, bad input."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from attacks._adaptive_step import checkpoints
from attacks._ball import ball
from attacks.apgd import APGD
from attacks.autoattack import AutoAttack
from attacks.fab import FAB
from attacks.pgd import PGD
from attacks.square import Square
from harness.draws import CounterDraws
from harness.rounding import inside
from harness.types import Attack, Budget, Draws, Outputs, View

Digits = tuple[nn.Module, Tensor, Tensor]
EPSILONS = {"linf": 0.1, "l2": 0.6, "l1": 2.5}
LOSSES = ("cross_entropy", "rescaled_cross_entropy", "dlr", "margin")


def broken(network: nn.Module, attack: Attack, digits: Digits, budget: Budget, draws: CounterDraws) -> Tensor:
    """Which inputs the attack fools, after a check of ball and box."""
    _, x, y = digits
    view = View.of(network, early_exit=True)
    found = attack.perturb(view, x, y, budget, draws)
    assert bool(inside(found, x, budget.norm, budget.epsilon).all())
    return network(found).argmax(1) != y


def test_checkpoints_are_the_published_ones() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("norm", EPSILONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_apgd_breaks_at_least_what_pgd_breaks(digits: Digits, draws: CounterDraws, loss: str, norm: str) -> None:
    budget = Budget(norm, EPSILONS[norm])  # type: ignore[arg-type]
    mine = broken(digits[0], APGD(loss=loss, steps=50), digits, budget, draws)  # type: ignore[arg-type]
    if norm == "l1":
        assert int(mine.sum()) > 5
        return
    other = broken(digits[0], PGD(steps=50), digits, budget, draws)
    slack = (
        1 if loss == "cross_entropy" else 3
    )  # PGD ascends cross-entropy; in l2 the untargeted margins stop a little earlier
    assert int(mine.sum()) >= int(other.sum()) - slack


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_rescaled_loss_does_not_care_how_large_logits_are(
    digits: Digits, draws: CounterDraws, scale: float
) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return digits[0](x) * scale

    budget = Budget("linf", 0.1)
    attack = APGD(loss="rescaled_cross_entropy", steps=30)
    plain = int(broken(digits[0], attack, digits, budget, draws).sum())
    assert abs(int(broken(Scaled(), attack, digits, budget, draws).sum()) - plain) <= 1


def test_apgd_is_as_strong_as_the_reference(digits: Digits, draws: CounterDraws) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    network, x, y = digits
    reference = torchattacks.APGD(network, norm="Linf", eps=0.1, steps=50)(x, y)
    other = int((network(reference).argmax(1) != y).sum())
    assert int(broken(network, APGD(steps=50), digits, Budget("linf", 0.1), draws).sum()) >= other - 1


@pytest.mark.parametrize(
    "attack", [APGD(loss="dlr"), APGD(loss="dlr", targets=3), AutoAttack(), FAB(), Square(queries=300)]
)
def test_two_classes_are_no_error(linear: nn.Module, attack: Attack) -> None:
    x = torch.full((4, 12), 0.5)
    y = linear(x).argmax(1)
    draws = CounterDraws("tests", torch.arange(4))
    epsilon = float("inf") if attack.minimal else 0.5
    found = attack.perturb(View.of(linear, early_exit=True), x, y, Budget("linf", epsilon), draws)
    assert bool((linear(found).argmax(1) != y).all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_reaches_the_hyperplane_of_a_linear_network(linear: nn.Module, norm: str) -> None:
    """Inside the box the distance to the plane is |w x + b| over the dual norm of w."""
    x = torch.full((3, 12), 0.5)
    y = linear(x).argmax(1)
    draws = CounterDraws("tests", torch.arange(3))
    found = FAB().perturb(View.of(linear), x, y, Budget(norm, float("inf")), draws)  # type: ignore[arg-type]
    w, value = linear.w, (x @ linear.w + linear.b).abs()
    dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    distance = torch.linalg.vector_norm(found - x, ord=order, dim=1)
    assert bool((linear(found).argmax(1) != y).all())
    assert torch.allclose(distance, value / dual, rtol=0.03)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_is_about_as_near_as_the_reference(digits: Digits, draws: CounterDraws, norm: str) -> None:
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # adv-lib imports it, but plots only when asked
    adv_lib = pytest.importorskip("adv_lib.attacks")
    network, x, y = digits
    reference = adv_lib.fab(network, x, y, norm={"linf": float("inf"), "l2": 2}[norm], n_iter=50)
    order = {"linf": torch.inf, "l2": 2}[norm]
    theirs = torch.linalg.vector_norm((reference - x).flatten(1), ord=order, dim=1)
    found = FAB(steps=50).perturb(View.of(network), x, y, Budget(norm, float("inf")), draws)  # type: ignore[arg-type]
    mine = torch.linalg.vector_norm((found - x).flatten(1), ord=order, dim=1)
    assert bool((network(found).argmax(1) != y).all())
    assert float(mine.median()) <= 1.05 * float(theirs.median())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_breaks_without_a_gradient(digits: Digits, draws: CounterDraws, norm: str) -> None:
    class Hidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return digits[0](x.detach()).detach()

    budget = Budget(norm, 2 * EPSILONS[norm])  # type: ignore[arg-type]
    black = broken(Hidden(), Square(queries=600), digits, budget, draws)
    white = broken(digits[0], APGD(loss="margin", steps=50), digits, budget, draws)
    assert int(black.sum()) >= 0.6 * int(white.sum())


def test_square_counts_its_queries(digits: Digits, draws: CounterDraws) -> None:
    network, x, y = digits
    asked = torch.zeros(1)

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            asked.add_(len(x))
            return network(x)

    Square(queries=50).perturb(View.of(Counting()), x, y, Budget("linf", 0.02), draws)
    assert float(asked) <= 51 * len(x)


def test_a_search_starts_where_that_at_a_smaller_epsilon_ended(digits: Digits, draws: CounterDraws) -> None:
    network, x, y = digits
    view, budget = View.of(network, early_exit=True), Budget("linf", 0.1)
    small = APGD(steps=30).perturb(view, x, y, Budget("linf", 0.05), draws)
    warm = APGD(steps=5).perturb(replace(view, start=small), x, y, budget, draws)
    cold = APGD(steps=5).perturb(view, x, y, budget, draws)
    assert int((network(warm).argmax(1) != y).sum()) >= int((network(cold).argmax(1) != y).sum()) - 2


@pytest.mark.parametrize("version", ["standard", "plus"])
def test_the_cascade_breaks_what_its_parts_break(digits: Digits, draws: CounterDraws, version: str) -> None:
    small = (digits[0], digits[1][:6], digits[2][:6])
    mine, budget = draws[torch.arange(6)], Budget("linf", 0.1)
    whole = broken(digits[0], AutoAttack(version=version), small, budget, mine)  # type: ignore[arg-type]
    for part in (APGD(steps=100), APGD(loss="dlr", targets=9), Square(queries=500)):
        assert int(whole.sum()) >= int(broken(digits[0], part, small, budget, mine).sum())


def test_the_cascade_agrees_with_the_reference(digits: Digits, draws: CounterDraws) -> None:
    reference = pytest.importorskip("pyautoattack")
    network, x, y = digits
    theirs = reference.AutoAttack(network, norm="Linf", eps=0.1, seed=0)
    theirs.attacks_to_run = ["apgd-ce", "apgd-t"]
    found = theirs.run_standard_evaluation(x, y)[0]
    mine = broken(network, AutoAttack(), digits, Budget("linf", 0.1), draws)
    assert int(mine.sum()) >= int((network(found).argmax(1) != y).sum())


@pytest.mark.parametrize(("norm", "order"), [("l1", 1)])
def test_the_projection_is_the_nearest_point_of_ball_and_box(norm: str, order: int) -> None:
    """Against a general solver, where both constraints bind."""
    optimize = pytest.importorskip("scipy.optimize")
    generator = torch.Generator().manual_seed(1)
    x, candidate = torch.rand(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    mine = ball(x, Budget(norm, 0.7)).project(candidate.clone())  # type: ignore[arg-type]
    for row in range(4):
        center, goal = x[row].double().numpy(), candidate[row].double().numpy()
        ends = [(0.0, float(1 - c)) for c in center] + [(0.0, float(c)) for c in center]  # up and down, each at least 0

        def distance(moves: object, center: object = center, goal: object = goal) -> float:
            up, down = moves[:6], moves[6:]  # type: ignore[index]
            return float(((center + up - down - goal) ** 2).sum())  # type: ignore[operator]

        room = {"type": "ineq", "fun": lambda moves: 0.7 - moves.sum()}
        solved = optimize.minimize(distance, [0.01] * 12, bounds=ends, constraints=[room], method="SLSQP")
        assert float(((mine[row] - candidate[row]) ** 2).sum()) <= solved.fun + 1e-3


@pytest.mark.parametrize(
    ("attack", "parameter"), [(APGD, "steps"), (APGD, "restarts"), (Square, "queries"), (FAB, "steps")]
)
def test_bad_parameters(attack: type, parameter: str) -> None:
    with pytest.raises(ValueError, match=parameter):
        attack(**{parameter: 0})


def test_apgd_takes_the_mean_of_twenty_draws_where_a_system_draws_numbers() -> None:
    passes: list[int] = []

    def forward(x: Tensor, draws: Draws) -> Outputs:
        passes.append(len(x))
        return Outputs(torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1), None)

    x, y = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    draws = CounterDraws("a", torch.arange(2))
    for random, number in ((True, 20), (False, 1)):
        passes.clear()
        view = replace(View.of(lambda x: x, early_exit=False), forward=forward, random=random)
        APGD(steps=1).perturb(view, x, y, Budget("linf", 0.01), draws)
        assert max(passes) == 2 * number
