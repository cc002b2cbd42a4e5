"""Read-outs that guarantee a neighbour: closed forms on networks that are linear, and what stays true on any."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks._ball import ball
from harness.binarisation import Numbered, binarise, noise, on_boundary, read_out
from harness.draws import CounterDraws
from harness.gradients import expectation
from harness.rounding import distance, inside
from harness.system import ContractError, Curve, System
from harness.types import Budget, Loaded, Split

LEVELS = 16


class Shown:
    """A network that shows some features, here linear or bent ones; its head is not used."""

    def __init__(self, matrix: Tensor, *, bent: bool = False) -> None:
        self.matrix, self.bent = matrix, bent

    def features(self, x: Tensor) -> Tensor:
        found = x.flatten(1) @ self.matrix
        return found.relu() if self.bent else found

    def head(self, features: Tensor) -> Tensor:
        return features[:, :10]

    def __call__(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(number: int = 12) -> Split:
    x = (random(number, 1, 6, 6, seed=5) * LEVELS).round() / LEVELS
    index = torch.arange(number) + 100
    return Split(x, torch.arange(number) % 10, index, 10, LEVELS, CounterDraws("inputs", index))


def shown(*, bent: bool = False) -> System:
    return System(Shown(torch.randn(36, 24, generator=torch.Generator().manual_seed(1)), bent=bent))  # type: ignore[arg-type]


def guarded(system: System) -> System:
    """The system behind a detector of bright images, accepted up to a mean of 0.55."""
    scores = random(200, seed=9)
    detector = Loaded("detector", "mean", lambda x: x.flatten(1).mean(1))
    return System(system.classifier, (detector,), (Curve.of(scores),), float(Curve.of(scores)(torch.tensor([0.55]))))


def test_the_read_out_is_fishers_discriminant_with_a_ridge():
    inner, neighbour = random(3, 200, 7).double(), random(3, 7, seed=1).double() + 1
    weight, bias, separated = read_out(inner, neighbour)
    for i in range(3):
        points, goal = inner[i].numpy(), neighbour[i].numpy()
        covariance = np.cov(points.T, bias=True)
        covariance += 0.1 * np.trace(covariance) / 7 * np.eye(7)
        expected = np.linalg.inv(covariance) @ (goal - points.mean(0))
        found = weight[i].numpy()
        np.testing.assert_allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), atol=1e-9)
        value = np.concatenate([points, goal[None]]) @ found + float(bias[i])
        assert separated[i]
        assert value[:-1].max() == pytest.approx(-value[-1])  # lost half way from the outermost point to the neighbour
        assert value[-1] - value[:-1].mean() == pytest.approx(10)


def test_a_neighbour_amid_the_noise_is_not_separated():
    inner = random(1, 500, 3).double()
    assert not read_out(inner, inner.mean(1) + 1e-3)[2].any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_lie_where_they_should(norm: str):
    x, draws, radius = inputs().x, CounterDraws("points", torch.arange(12)), {"linf": 0.2, "l2": 1.3}[norm]
    points, edge = noise(x, norm, radius, draws, 50), on_boundary(x, norm, radius, draws, 50)
    for found in (points, edge):
        far = torch.stack([distance(found[:, i], x, norm) for i in range(50)])
        assert far.max() <= radius * (1 + 1e-5)
        assert found.min() >= 0
        assert found.max() <= 1
    reached = torch.stack([distance(edge[:, i], x, norm) for i in range(50)])
    torch.testing.assert_close(reached, torch.full_like(reached, radius), rtol=1e-3, atol=0)
    assert torch.equal(points[[3, 1]], noise(x[[3, 1]], norm, radius, draws[torch.tensor([3, 1])], 50))
    if norm == "linf":
        moved = (edge - x[:, None]).abs()
        assert ((moved - radius).abs() < 1e-6)[(edge > 0) & (edge < 1)].all()
        centre = (points - x[:, None])[(points > 0) & (points < 1)]
        assert centre.abs().mean() < 0.9 * radius


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("bent", [False, True])
def test_the_neighbour_is_adversarial_and_noise_is_not(norm: str, bent: bool):
    data, epsilon = inputs(), {"linf": 0.2, "l2": 1.0}[norm]
    case = binarise(shown(bent=bent), data, norm=norm, epsilon=epsilon)
    assert len(case.data) == case.asked == 12
    assert inside(case.neighbour, case.data.x, norm, epsilon).all()
    torch.testing.assert_close(case.neighbour * LEVELS, (case.neighbour * LEVELS).round(), rtol=0, atol=1e-5)
    assert case.system(case.neighbour, case.data.draws).fooled(case.data.y).all()
    assert not case.system(case.data.x, case.data.draws).fooled(case.data.y).any()
    fresh = noise(data.x, norm, 0.95 * epsilon, CounterDraws("fresh", data.index), 200)
    fooled = [case.system(fresh[:, i], case.data.draws).fooled(case.data.y) for i in range(200)]
    assert torch.stack(fooled).float().mean() < 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_network_the_steepest_point_of_the_ball_is_the_most_adversarial(norm: str):
    """Its logit has a closed form, which the neighbour cannot exceed."""
    data, epsilon = inputs(), {"linf": 0.2, "l2": 1.0}[norm]
    system = shown()
    case = binarise(system, data, norm=norm, epsilon=epsilon)
    slope = (case.system.weight @ system.classifier.matrix.T).view_as(data.x)  # type: ignore[attr-defined]
    value = torch.einsum("bchw,bchw->b", slope, data.x) + case.system.bias
    outputs = case.system(data.x, case.data.draws)
    torch.testing.assert_close(outputs.logits[:, 1] - outputs.logits[:, 0], value, rtol=1e-4, atol=1e-4)
    neighbour = case.system(case.neighbour, case.data.draws).logits.diff(dim=1)[:, 0]
    if norm == "linf":
        room = torch.where(slope > 0, (1 - data.x).clamp(max=epsilon), data.x.clamp(max=epsilon))
        most = value + (slope.abs() * room).flatten(1).sum(1)
    else:
        most = value + epsilon * slope.flatten(1).norm(dim=1)
    assert (neighbour > 0).all()
    assert (neighbour <= most + 1e-4).all()


def test_inputs_without_a_neighbour_that_fools_are_left_out():
    """Features that never change tell no neighbour from the noise: nothing is guaranteed, and nothing asked."""
    blind = System(Shown(torch.zeros(36, 24)))  # type: ignore[arg-type]
    found = binarise(blind, inputs(), norm="linf", epsilon=0.2)
    assert (len(found.data), len(found.neighbour), found.asked) == (0, 0, 12)


def test_each_row_has_its_own_read_out_whatever_an_attack_does_with_the_batch():
    case = binarise(shown(bent=True), inputs(), norm="linf", epsilon=0.2)
    x, draws = case.neighbour, case.data.draws
    whole = case.system(x, draws).logits
    rows = torch.tensor([7, 2, 2, 11])
    torch.testing.assert_close(case.system(x[rows], draws.stream("a")[rows].stream(3)).logits, whole[rows])
    mask = torch.arange(12) % 3 == 0
    torch.testing.assert_close(case.system(x[mask], draws[mask]).logits, whole[mask])
    torch.testing.assert_close(expectation(case.system, 4)(x[rows], draws[rows]).logits, whole[rows])
    assert not torch.allclose(case.system(x, draws[torch.arange(12).flip(0)]).logits, whole)


def test_numbered_draws_are_the_draws_that_they_hold():
    inner = CounterDraws("key", torch.arange(5))
    mine = Numbered(torch.arange(5), inner)
    assert torch.equal(mine.uniform(3), inner.uniform(3))
    assert torch.equal(mine.stream("s").normal(2, draw=1), inner.stream("s").normal(2, draw=1))
    assert torch.equal(mine[torch.tensor([4, 0])].integers(9, 2), inner[torch.tensor([4, 0])].integers(9, 2))


def test_inverted_the_detector_accepts_the_neighbour_and_rejects_what_was_harmless():
    data, system = inputs(), guarded(shown(bent=True))
    case = binarise(system, data, norm="linf", epsilon=0.2, inverted=True)
    assert len(case.data) == 12
    outputs, clean = case.system(case.neighbour, case.data.draws), case.system(data.x, case.data.draws)
    assert (outputs.margin <= 0).all()
    assert outputs.fooled(case.data.y).all()
    assert (clean.margin > 0).all()
    assert case.rejected > 0.95
    darker = case.system((data.x - 0.1).clamp(min=0), case.data.draws)
    assert (darker.margin > clean.margin).all()  # turned round: what was less suspicious is further from acceptance


def test_upright_the_detector_stays_as_it_is():
    data, system = inputs(), guarded(shown(bent=True))
    case = binarise(system, data, norm="linf", epsilon=0.2)
    accepted = system(case.neighbour, case.data.draws).margin <= 0
    assert accepted.all()
    assert 0 < len(case.data) <= 12
    torch.testing.assert_close(
        case.system(case.data.x, case.data.draws).margin, system(case.data.x, case.data.draws).margin
    )


def test_the_neighbour_is_the_one_that_the_detector_likes_best():
    data, system = inputs(), guarded(shown(bent=True))
    bright = binarise(system, data, norm="linf", epsilon=0.2, inverted=True)
    dark = binarise(system, data, norm="linf", epsilon=0.2)
    both = torch.isin(bright.data.index, dark.data.index)
    assert (bright.neighbour[both].flatten(1).mean(1) > dark.neighbour.flatten(1).mean(1)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_may_project_into_the_same_ball(norm: str):
    """The neighbour survives the projection that attacks use."""
    epsilon = {"linf": 0.2, "l2": 1.0}[norm]
    case = binarise(shown(bent=True), inputs(), norm=norm, epsilon=epsilon)
    projected = ball(case.data.x, Budget(norm, epsilon)).project(case.neighbour.clone())  # type: ignore[arg-type]
    assert case.system(projected, case.data.draws).fooled(case.data.y).all()


def test_questions_without_an_answer_are_refused():
    data = inputs()
    with pytest.raises(ValueError, match="boundary points in linf and l2, not in 'l0'"):
        binarise(shown(), data, norm="l0", epsilon=3.0)
    with pytest.raises(ValueError, match="less than a step of the data's grid, 1/16"):
        binarise(shown(), data, norm="linf", epsilon=0.05)
    with pytest.raises(ValueError, match="the system has none"):
        binarise(shown(), data, norm="linf", epsilon=0.2, inverted=True)
    with pytest.raises(ContractError, match="no penultimate layer"):
        binarise(System(lambda x: x.flatten(1)), data, norm="linf", epsilon=0.2)
