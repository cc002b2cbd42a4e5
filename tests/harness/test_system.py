"""The deployed pipeline: its threshold, its curves, and how it judges what is broken."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.draws import CounterDraws
from harness.gradients import Count
from harness.system import INVALID, REJECTED, ContractError, Curve, Judge, System, calibrate, curves_of
from harness.types import Loaded, Network
from harness.views import view

DRAWS = CounterDraws("t", torch.arange(64))


class Two:
    """Two classes by the sign of the first pixel less one half."""

    def __call__(self, x: Tensor) -> Tensor:
        value = x.flatten(1)[:, 0] - 0.5
        return torch.stack([-value, value], 1)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        return self(features)


TWO: Network = Two()


def detector(call: object, name: str = "d", *, random: bool = False) -> Loaded:
    return Loaded("detector", name, call, random)  # type: ignore[arg-type]


def normal(n: int, seed: int = 0, columns: int = 1) -> Tensor:
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [50, 359, 1000, 5000])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_threshold_is_the_stated_order_statistic(n: int, rate: float) -> None:
    scores = normal(n)[:, 0]
    system = System(TWO, (detector(lambda x: x),))
    state = calibrate(system, [scores], [rate])
    place = min(n, math.ceil(round((n + 1) * (1 - rate), 9)))
    expected = curves_of(state)[0](scores.sort().values[place - 1])
    assert float(state[f"threshold.{rate:g}"]) == pytest.approx(float(expected))
    accepted = curves_of(state)[0](scores) <= float(state[f"threshold.{rate:g}"])
    assert int(accepted.sum()) == place  # monotone: ranks are kept, and the threshold itself is accepted


def test_three_detectors_keep_one_rate() -> None:
    """Each at one per cent would reject nearly three; one threshold on the largest rejects one."""
    system = System(TWO, tuple(detector(lambda x: x, str(i)) for i in range(3)))
    shape = (lambda x: x, lambda x: torch.exp(x), lambda x: 100 * x**3)
    clean = [f(normal(5000, 1, 3)[:, i]) for i, f in enumerate(shape)]
    state = calibrate(system, clean, [0.01])
    whole = System(TWO, system.parts, curves_of(state), float(state["threshold.0.01"]))
    fresh = [f(normal(40000, 2, 3)[:, i]) for i, f in enumerate(shape)]
    rejected = [float((whole.combined(fresh) > whole.threshold).float().mean())]
    assert rejected[0] == pytest.approx(0.01, abs=0.005)
    alone = torch.stack([s > c.quantile(0.99) for s, c in zip(fresh, clean, strict=True)]).any(0)
    assert float(alone.float().mean()) > 0.025


def test_curve_is_minus_log10_of_the_tail_share() -> None:
    curve = Curve.of(normal(20000)[:, 0])
    for level, score in ((0.5, 0.0), (0.9, 1.2816), (0.99, 2.3263)):
        assert float(curve(torch.tensor([score]))) == pytest.approx(-math.log10(1 - level), abs=0.07)


@pytest.mark.parametrize(
    "scores",
    [normal(359)[:, 0], normal(5000)[:, 0].exp(), torch.zeros(100), torch.arange(1000.0) // 300, 1e30 * normal(400)[:, 0],
     torch.cat([torch.zeros(390), torch.ones(10)]), torch.tensor([0.0, 1.0, 2.0, 3.0])],
)  # fmt: skip
def test_curve_is_increasing_differentiable_and_finite_far_outside(scores: Tensor) -> None:
    curve = Curve.of(scores)
    size = max(1.0, float(scores.abs().max()))
    points = torch.linspace(-100 * size, 100 * size, 4001, dtype=torch.float64)
    points = torch.cat([points, curve.scores.double()]).sort().values.requires_grad_()
    units = curve(points)
    assert torch.isfinite(units).all()
    assert (units.detach()[1:] >= units.detach()[:-1]).all()
    assert float(units.detach()[-1]) > float(units.detach()[0])
    (slope,) = torch.autograd.grad(units.sum(), points)
    assert torch.isfinite(slope).all()
    assert (slope > 0).all()


def test_equal_scores_are_accepted_together() -> None:
    """A detector that says 0 or 1 and says 1 to less than the rate rejects just those."""
    scores = torch.cat([torch.zeros(4990), torch.ones(10)])
    state = calibrate(System(TWO, (detector(lambda x: x),)), [scores], [0.01])
    margin = curves_of(state)[0](torch.tensor([0.0, 1.0])) - float(state["threshold.0.01"])
    assert float(margin[0]) <= 0 < float(margin[1])


def test_scores_that_are_not_finite_are_refused_in_calibration() -> None:
    with pytest.raises(ContractError, match="detector 1 gives scores that are not finite"):
        calibrate(System(TWO, (detector(lambda x: x),)), [torch.tensor([0.0, float("nan")])], [0.01])


def rejecting(call: object) -> System:
    curve = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    return System(TWO, (detector(call),), (curve,), 0.5)


def test_judge_and_margin() -> None:
    x = torch.tensor([[0.1, 0.2], [0.9, 0.9], [0.9, 0.5]])
    label, margin = rejecting(lambda z: z[:, 1]).judge(x, DRAWS[torch.arange(3)])
    assert label.tolist() == [0, 1, 1]
    torch.testing.assert_close(margin, torch.tensor([-0.3, 0.4, 0.0]))
    outputs = rejecting(lambda z: z[:, 1])(x, DRAWS[torch.arange(3)])
    assert outputs.fooled(torch.tensor([1, 0, 0])).tolist() == [True, False, True]


def test_an_answer_that_is_not_finite_is_wrong_and_accepted() -> None:
    """Whoever answers NaN has not rejected; no label is right."""
    x = torch.tensor([[float("nan"), 0.2], [0.9, float("nan")], [float("inf"), 0.9], [0.2, float("inf")]])
    label, margin = rejecting(lambda z: z[:, 1]).judge(x, DRAWS[torch.arange(4)])
    assert label.tolist() == [INVALID, INVALID, INVALID, 0]
    assert (margin[:3] == float("-inf")).all()
    assert float(margin[3]) > 0
    judge = Judge(rejecting(lambda z: z[:, 1]), "linf", None)
    assert judge.fooled(x, torch.tensor([0, 0, 0, 1]), DRAWS[torch.arange(4)]).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (detector(lambda x: x), r"detector d gives \(4, 3\); expected a tensor of shape \(4,\)"),
        (detector(lambda x: x[:, 0].long()), "gives torch.int64; expected float"),
        (detector(lambda x: [1.0]), "gives list"),
        (
            Loaded("purifier", "p", lambda x: x[:, :2]),
            r"purifier p gives \(4, 2\); expected a tensor of shape \(4, 3\)",
        ),
        (Loaded("purifier", "p", lambda x: (255 * x).to(torch.uint8)), "gives torch.uint8; expected float"),
    ],
)
def test_parts_with_wrong_shapes_and_dtypes(part: Loaded, words: str) -> None:
    curve = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    with pytest.raises(ContractError, match=words):
        System(TWO, (part,), (curve,), 0.5)(torch.rand(4, 3), DRAWS[torch.arange(4)])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: x.argmax(1), r"classifier gives \(4,\) for 4 inputs; expected \(B, K\)"),
        (lambda x: x[:2], r"classifier gives \(2, 3\)"),
    ],
)
def test_classifiers_with_wrong_answers(call: object, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        System(call)(torch.rand(4, 3), DRAWS[torch.arange(4)])  # type: ignore[arg-type]


def test_purifiers_come_before_what_follows_them() -> None:
    bright = Loaded("purifier", "bright", lambda x: (x + 0.5).clamp(max=1))
    curve = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    seen: list[Tensor] = []

    def watching(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return x[:, 1]

    x, draws = torch.tensor([[0.2, 0.2]]), DRAWS[torch.arange(1)]
    System(TWO, (detector(watching), bright), (curve,), 0.5).judge(x, draws)
    label, _ = System(TWO, (bright, detector(watching)), (curve,), 0.5).judge(x, draws)
    assert label.tolist() == [1]
    assert [s[0, 1].item() for s in seen] == [pytest.approx(0.2), pytest.approx(0.7)]


def test_random_parts_get_draws_of_their_own() -> None:
    noise = Loaded("purifier", "noise", lambda x, draws: x + draws.normal(*x.shape[1:]), True)
    seen: list[Tensor] = []

    def watching(x: Tensor) -> Tensor:
        seen.append(x)
        return x[:, 0]

    curve = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    system = System(TWO, (noise, detector(watching), noise, detector(watching)), (curve, curve), 0.5)
    assert system.random
    x = torch.zeros(8, 2)
    system.judge(x, DRAWS[torch.arange(8)])
    system.judge(x, DRAWS[torch.arange(8)])
    assert torch.equal(seen[0], seen[2])
    assert not torch.allclose(seen[1] - seen[0], seen[0])


def test_the_view_counts_and_judges_after_rounding() -> None:
    count = Count()
    sight = view(Judge(System(TWO), "linf", 10), num_classes=2, early_exit=True, count=count)
    x, y, draws = torch.full((3, 2), 0.5), torch.zeros(3, dtype=torch.long), DRAWS[torch.arange(3)]
    candidate = torch.tensor([[0.54, 0.5], [0.56, 0.5], [0.7, 0.5]])
    assert sight.fooled(candidate, x, y, 0.15, draws).tolist() == [False, True, True]
    assert count.forwards == 3
    assert sight.forward is not None
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sight.forward(leaf, draws).logits[:, 1].sum(), leaf)
    assert gradient[:, 0].tolist() == [1, 1, 1]
    assert (count.forwards, count.backwards) == (6, 3)
    closed = view(Judge(rejecting(lambda z: z[:, 1]), "linf", 10), num_classes=2, early_exit=True, count=count)
    assert closed.decide(torch.tensor([[0.9, 0.9]]), DRAWS[torch.arange(1)]).tolist() == [REJECTED]


def test_a_random_system_is_fooled_when_nineteen_of_twenty_draws_are() -> None:
    rates = torch.tensor([0.0, 0.5, 0.9, 1.0]).repeat_interleave(16)

    def flips(x: Tensor, draws: CounterDraws) -> Tensor:
        return torch.where(draws.uniform()[:, None] < x[:, 1:2], torch.ones_like(x), torch.zeros_like(x))

    system = System(TWO, (Loaded("purifier", "flips", flips, True),))
    x = torch.stack([torch.zeros(64), rates], 1)
    broken = Judge(system, "linf", None)(x, x, torch.zeros(64, dtype=torch.long), 0.1, DRAWS).view(4, 16)
    assert broken.sum(1).tolist()[0] == 0
    assert broken.sum(1).tolist()[1] == 0
    assert broken.sum(1).tolist()[3] == 16
