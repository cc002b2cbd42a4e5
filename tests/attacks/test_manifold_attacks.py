"""Attacks along and across manifolds: closed forms of a linear classifier, SciPy's eigenproblem, a circle, bad manifolds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from torch import Tensor

from attacks._ball import ball
from attacks._latent import Decoded, forward_product
from attacks._manifold import OnManifold, leakage, normal_part, tangent_part
from attacks.in_manifold import InManifold
from attacks.latent_pgd import LatentPGD
from attacks.nearby_normal import NearbyNormal
from attacks.normal import Normal
from attacks.on_manifold_pgd import OnManifoldPGD
from geometry.manifolds.circle import Circle
from harness.draws import CounterDraws
from harness.types import Budget, View

D, RANK, NUMBER = 12, 4, 6
ALONG = [OnManifoldPGD(), OnManifoldPGD(residual=False), LatentPGD(), InManifold()]


@dataclass(frozen=True, eq=False)
class Flat:
    """The affine subspace through one half, spanned by orthonormal columns (D, RANK)."""

    basis: Tensor
    dim: int = RANK

    def encode(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.basis

    def decode(self, z: Tensor) -> Tensor:
        return (0.5 + z @ self.basis.T).view(-1, 1, 3, 4)

    def project(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def distance(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm((x - self.project(x)).flatten(1), dim=1)

    def tangent_basis(self, x: Tensor) -> Tensor:
        return self.basis.expand(len(x), D, RANK)


@pytest.fixture(scope="module")
def flat() -> Flat:
    torch.manual_seed(1)
    return Flat(torch.linalg.qr(torch.randn(D, RANK)).Q)


@pytest.fixture(scope="module")
def points(flat: Flat) -> Tensor:
    torch.manual_seed(2)
    return flat.decode(0.05 * torch.randn(NUMBER, RANK))


def attack(part, view: View, x: Tensor, y: Tensor, budget: Budget, manifold) -> tuple[Tensor, dict[str, Tensor]]:
    notes: dict[str, Tensor] = {}

    def note(name: str, rows: Tensor, values: Tensor | str) -> None:
        if isinstance(values, Tensor):
            notes[name] = values

    draws = CounterDraws("test", torch.arange(len(x)))
    return part.perturb(replace(view, note=note), x, y, budget, draws, manifold=manifold), notes


def linear(w: Tensor, x: Tensor, gap: float) -> tuple[View, Tensor]:
    """A linear classifier that gives every input the label 0 with a logit difference of `gap`, up to where x leaves off."""
    offset = (x.flatten(1) @ w).mean() + gap

    def logits(inputs: Tensor) -> Tensor:
        score = offset - inputs.flatten(1) @ w
        return torch.stack([score, -score], 1)

    score = offset - x.flatten(1) @ w
    assert (score > 0).all()
    return View.of(logits, early_exit=True), score


@pytest.mark.parametrize("part", ALONG, ids=str)
def test_along_a_flat_manifold_success_begins_at_the_tangent_distance(part, flat: Flat, points: Tensor) -> None:
    w = torch.linspace(-1, 1, D)
    view, score = linear(w, points, 0.6)
    needed = score / torch.linalg.vector_norm(flat.basis.T @ w)
    for row in range(NUMBER):
        x, y = points[row : row + 1], torch.zeros(1, dtype=torch.long)
        for factor, succeeds in ((0.97, False), (1.04, True)):
            found, _ = attack(part, view, x, y, Budget("l2", factor * float(needed[row])), flat)
            assert bool(view.decide(found, None)[0] != 0) == succeeds  # type: ignore[arg-type]
            assert float((found - x).norm()) <= factor * float(needed[row]) * (1 + 1e-5)
            assert float(flat.distance(found)) < 1e-5


def test_across_a_flat_manifold_success_begins_at_the_normal_distance(flat: Flat, points: Tensor) -> None:
    w = torch.linspace(-1, 1, D)
    view, score = linear(w, points, 0.4)
    normal = w - flat.basis @ (flat.basis.T @ w)
    needed = score / torch.linalg.vector_norm(normal)
    for row in range(NUMBER):
        x, y = points[row : row + 1], torch.zeros(1, dtype=torch.long)
        for factor, succeeds in ((0.97, False), (1.04, True)):
            found, notes = attack(Normal(), view, x, y, Budget("l2", factor * float(needed[row])), flat)
            assert bool(view.decide(found, None)[0] != 0) == succeeds  # type: ignore[arg-type]
            assert float((flat.basis.T @ (found - x).flatten()).norm()) < 1e-5
        assert float(notes["tangent leakage"]) == pytest.approx(1.0, abs=1e-4)


def test_near_a_flat_manifold_both_ways_add_up(flat: Flat, points: Tensor) -> None:
    w = torch.linspace(-1, 1, D)
    view, score = linear(w, points, 0.4)
    along = flat.basis @ (flat.basis.T @ w)
    needed = score / (2 / 3 * along.norm() + 1 / 3 * (w - along).norm())
    for row in range(NUMBER):
        x, y = points[row : row + 1], torch.zeros(1, dtype=torch.long)
        for factor, succeeds in ((0.97, False), (1.04, True)):
            epsilon = factor * float(needed[row])
            found, _ = attack(NearbyNormal(), view, x, y, Budget("l2", epsilon), flat)
            assert bool(view.decide(found, None)[0] != 0) == succeeds  # type: ignore[arg-type]
            assert float((flat.project(found) - x).norm()) <= 2 / 3 * epsilon * (1 + 1e-5)
            assert float(flat.distance(found)) <= epsilon / 3 * (1 + 1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_classifier_of_the_other_directions_cannot_be_moved(flat: Flat, points: Tensor, norm: str) -> None:
    w = torch.linspace(-1, 1, D)
    inside = flat.basis @ (flat.basis.T @ w)
    y, budget = torch.zeros(NUMBER, dtype=torch.long), Budget(norm, 0.3)  # type: ignore[arg-type]
    blind, _ = linear(w - inside, points, 1e-3)
    for part in ALONG:
        found, _ = attack(part, blind, points, y, budget, flat)
        assert (blind.decide(found, None) == 0).all()  # type: ignore[arg-type]
    blind, _ = linear(inside, points, 0.5)
    found, _ = attack(Normal(), blind, points, y, budget, flat)
    assert (blind.decide(found, None) == 0).all()  # type: ignore[arg-type]


def test_the_latent_direction_is_that_of_the_generalised_eigenproblem(flat: Flat, points: Tensor) -> None:
    torch.manual_seed(3)
    bend, weight = torch.randn(RANK, RANK, dtype=torch.float64), torch.randn(D, 5, dtype=torch.float64)
    basis = flat.basis.double()

    def decode(z: Tensor) -> Tensor:
        return (torch.tanh(z @ bend) + z) @ basis.T

    def logits(x: Tensor) -> Tensor:
        return torch.tanh(3 * x.flatten(1) @ weight)

    z, x = torch.randn(3, RANK, dtype=torch.float64), torch.rand(3, D, dtype=torch.float64)
    decoded = Decoded(decode, z)
    draws = CounterDraws("test", torch.arange(3))
    found = InManifold(iterations=200, conjugate=RANK)._direction(logits, decoded, x, draws)
    for row in range(3):
        jacobian = torch.func.jacrev(decode)(z[row])
        outer = torch.func.jacrev(logits)(x[row : row + 1])[0, :, 0] @ jacobian
        likely = torch.softmax(logits(x[row : row + 1]), 1)[0]
        fisher = torch.diag(likely) - torch.outer(likely, likely)
        _, vectors = eigh((outer.T @ fisher @ outer).numpy(), (jacobian.T @ jacobian).numpy())
        top = torch.tensor(vectors[:, -1])
        assert abs(float((jacobian @ found[row]) @ (jacobian @ top))) == pytest.approx(1.0, abs=1e-6)


def test_forward_products_are_those_of_the_jacobian() -> None:
    weight = torch.randn(4, 7, dtype=torch.float64)
    at, vectors = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = (1 - torch.tanh(at @ weight).square()) * (vectors @ weight)
    torch.testing.assert_close(forward_product(lambda z: torch.tanh(z @ weight), at, vectors), expected)


@pytest.mark.parametrize("residual", [True, False])
def test_on_a_circle_iterates_stay_on_the_circle(residual: bool) -> None:
    circle = Circle(radius=0.4, center=(0.5, 0.5)).load({})
    x = circle.sample(20, torch.Generator().manual_seed(0)).float()

    def logits(inputs: Tensor) -> Tensor:
        side = inputs[:, 0] - 0.5
        return torch.stack([side, -side], 1)

    y = logits(x).argmax(1)
    view = View.of(logits, early_exit=True)
    found, notes = attack(OnManifoldPGD(residual=residual), view, x, y, Budget("l2", 0.2), circle)
    assert (notes["distance to manifold"] < 1e-4).all()
    chord = 2 * 0.4 * torch.sin(torch.asin((x[:, 0] - 0.5).abs() / 0.4) / 2)
    clear = (chord - 0.2).abs() > 0.01
    assert torch.equal((view.decide(found, None) != y)[clear], (chord < 0.2)[clear])  # type: ignore[arg-type]


def test_what_a_projection_alone_breaks_is_no_success() -> None:
    circle = Circle(radius=0.4, center=(0.5, 0.5)).load({})
    x = torch.tensor([[0.5, 0.7], [0.5, 0.9]])  # the first lies inside the circle

    def logits(inputs: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(inputs - 0.5, dim=1)
        return torch.stack([0.3 - radius, radius - 0.3], 1)

    view, y = View.of(logits, early_exit=True), torch.tensor([0, 1])
    found, notes = attack(OnManifoldPGD(residual=False), view, x, y, Budget("l2", 0.3), circle)
    assert torch.equal(notes["projection alone"], torch.tensor([1.0, 0.0]))
    assert torch.equal(found[0], x[0])


def test_parts_add_up_and_leak_what_is_normal(flat: Flat) -> None:
    vectors, basis = torch.randn(5, 1, 3, 4), flat.basis.expand(5, D, RANK)
    torch.testing.assert_close(tangent_part(vectors, basis) + normal_part(vectors, basis), vectors)
    assert leakage(tangent_part(vectors, basis), basis).max() < 1e-5
    assert leakage(torch.zeros(2, 1, 3, 4), basis[:2]).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(leakage(normal_part(vectors, basis), basis), 1.0, rtol=1e-5)


@pytest.mark.parametrize("part", [LatentPGD(), InManifold()], ids=str)
def test_a_manifold_without_a_decoder_is_refused(part) -> None:
    circle = Circle().load({})
    x, y = torch.rand(2, 2), torch.zeros(2, dtype=torch.long)
    with pytest.raises(TypeError, match="encode and decode"):
        attack(part, View.of(lambda x: x), x, y, Budget("l2", 0.1), circle)


@pytest.mark.parametrize("part", [*ALONG, Normal(), NearbyNormal()], ids=str)
def test_a_manifold_of_another_shape_is_refused(part, flat: Flat) -> None:
    x, y = torch.rand(2, 1, 2, 6), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="fit it on this data set"):
        attack(part, View.of(lambda x: x.flatten(1)), x, y, Budget("l2", 0.1), flat)


@pytest.mark.parametrize("part", [OnManifoldPGD, Normal, NearbyNormal, LatentPGD, InManifold])
def test_bad_parameters_are_refused(part) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        part(samples=0)
    with pytest.raises(ValueError, match="directions"):
        Normal(directions=-1)


def test_a_projection_does_not_depend_on_the_other_inputs() -> None:
    circle = Circle(radius=0.4, center=(0.5, 0.5)).load({})
    x = circle.sample(8, torch.Generator().manual_seed(0)).float()
    far = x + torch.linspace(0, 0.6, 8)[:, None] * torch.tensor([1.0, -0.5])
    feasible = OnManifold(ball(x, Budget("l2", 0.1)), circle, circle.tangent_basis(x), torch.zeros_like(x))
    together = feasible.project(far.clone())
    alone = torch.cat([feasible[torch.tensor([row])].project(far[row : row + 1].clone()) for row in range(8)])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


@dataclass(frozen=True, eq=False)
class Scaled(Flat):
    """A flat manifold with a local scale that differs from input to input."""

    def scale(self, x: Tensor) -> Tensor:
        return torch.linspace(0.01, 0.03, len(x))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_steps_are_counted_in_local_scales(norm: str, flat: Flat, points: Tensor) -> None:
    view, _ = linear(torch.randn(D, generator=torch.Generator().manual_seed(3)), points, 5.0)
    y = torch.zeros(NUMBER, dtype=torch.long)
    part = OnManifoldPGD(steps=3, local_step=2.0)
    found, _ = attack(part, view, points, y, Budget(norm, 10.0), Scaled(flat.basis))  # type: ignore[arg-type]
    walked = (found - points).flatten(1).norm(dim=1)
    torch.testing.assert_close(walked, 3 * 2.0 * torch.linspace(0.01, 0.03, NUMBER), rtol=1e-3, atol=1e-5)


def test_local_steps_need_a_local_scale(flat: Flat, points: Tensor) -> None:
    view, y = linear(torch.ones(D), points, 5.0)[0], torch.zeros(NUMBER, dtype=torch.long)
    with pytest.raises(TypeError, match="local scale, which Flat lacks; give step_size"):
        attack(OnManifoldPGD(local_step=1.0), view, points, y, Budget("l2", 1.0), flat)
    with pytest.raises(ValueError, match=r"local_step = 1.0 and step_size = 0.1"):
        OnManifoldPGD(local_step=1.0, step_size=0.1)
    with pytest.raises(ValueError, match="a positive local_step"):
        OnManifoldPGD(local_step=0.0)
