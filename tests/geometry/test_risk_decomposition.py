"""Risks on circle, plane and strip against closed forms, integrals, brute force, and the examples of theorems 1 and 2."""

from __future__ import annotations

from math import asin, inf, nan, pi

import pytest
import torch

from geometry.manifolds.circle import Circle
from geometry.manifolds.plane import Plane
from geometry.manifolds.sphere import Sphere
from geometry.risk.decomposition import CAUSES, Flags, attribution, cause, flags, risks
from geometry.risk.radii import Neighbourhood, Radii, radii
from geometry.risk.surroundings import box_grid, golden_lattice, tube, unit_normals
from leaderboard.papers import _zhang_theorems as examples

EPSILONS = (0.05, 0.1, 0.2, 0.3)


def on_circle(number):
    return examples.on_circle(number)


def around_circle(number=3000, spacing=0.02, radius=0.6):
    return Neighbourhood(
        Circle().load({}), on_circle(number), box_grid((-1.3, -1.3), (1.3, 1.3), spacing=spacing), spacing, radius
    )


def single(points):
    return points[:, 0]


def double(points):
    return points[:, 0] * points[:, 1]


def wavy(points):
    return points[:, 0] + 0.3 * (4 * points[:, 1]).sin() + 0.4 * (points.norm(dim=1) - 1.05)


@pytest.mark.parametrize("norm", [2.0, inf])
@pytest.mark.parametrize(("score", "boundaries"), [(single, 2), (double, 4)])
def test_circle_has_its_closed_forms(score, boundaries, norm):
    x = on_circle(4000)
    found = radii(score, x, score(x).sign(), around=around_circle(), norm=norm)
    for epsilon in EPSILONS:
        at = risks(flags(found, epsilon))
        assert at["standard"] == at["normal"] == at["nearby_normal"] == at["nearby_normal_printed"] == 0
        assert at["adversarial"] == pytest.approx(boundaries * asin(epsilon) / pi, abs=boundaries * 3e-4)
        if norm == 2.0:
            # The chord 2e spans an angle of 2 asin(e), so both sides of a boundary together 4 asin(e).
            assert at["in_manifold_twice"] == pytest.approx(2 * boundaries * asin(epsilon) / pi, abs=boundaries * 3e-4)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(inf, ((0.0521, 0.0818), (0.1558, 0.2332))), (2.0, ((0.0387, 0.0690), (0.1161, 0.1986)))],
)
def test_plane_agrees_with_quadrature(norm, expected):
    """Numbers by an independent quadrature of the area within epsilon of x1 = sin x2 (and of x2 = 0)."""
    x = torch.nn.functional.pad(golden_lattice(4181, low=-pi, high=pi), (0, 1))
    around = Neighbourhood(
        Plane().load({}),
        torch.nn.functional.pad(box_grid((-pi, -pi), (pi, pi), spacing=0.06), (0, 1)),
        box_grid((-pi - 0.3, -pi - 0.3, -0.3), (pi + 0.3, pi + 0.3, 0.3), spacing=0.1),
        0.1,
        0.6,
    )
    for place, score in enumerate((plane_single, plane_double)):
        found = radii(score, x, score(x).sign(), around=around, norm=norm)
        for epsilon, numbers in zip((0.1, 0.3), expected, strict=True):
            at = risks(flags(found, epsilon))
            assert at["adversarial"] == pytest.approx(numbers[place], abs=2.5e-3)
            assert at["standard"] == at["normal"] == at["nearby_normal"] == 0


def plane_single(points):
    return points[:, 0] - points[:, 1].sin()


def plane_double(points):
    return plane_single(points) * points[:, 1]


@pytest.mark.parametrize("norm", [1.0, 2.0, inf])
def test_radii_agree_with_brute_force(norm):
    """Every definition written out on grids much finer than those of the search."""
    x = on_circle(40)
    y = single(x).sign()
    found = radii(wavy, x, y, around=around_circle(spacing=0.01), norm=norm)
    fine, ring = box_grid((-1.5, -1.5), (1.5, 1.5), spacing=0.005), on_circle(6000)
    wrong = wavy(x) * y <= 0
    for radius, points in ((found.adversarial, fine), (found.in_manifold, ring)):
        distance = torch.cdist(x, points, p=norm)
        least = distance.masked_fill(wavy(points) * y[:, None] > 0, inf).amin(1).masked_fill(wrong, 0.0)
        near = radius < 0.3
        assert near.any()
        torch.testing.assert_close(radius[near], least[near], atol=8e-3, rtol=0)
        assert float((radius[near] - least[near]).abs().mean()) < 3e-3
    lines = torch.linspace(-0.6, 0.6, 2401, dtype=torch.float64)
    along = torch.where(
        wavy((x[:, None] + lines[:, None] * x[:, None]).reshape(-1, 2)).reshape(40, -1) * y[:, None] <= 0,
        lines.abs(),
        inf,
    )
    expected = (along.amin(1) * x.norm(p=norm, dim=1)).masked_fill(wrong, 0.0)
    torch.testing.assert_close(found.normal, expected, atol=1e-3, rtol=0)
    some = on_circle(3000)
    turned = torch.where(
        wavy((some[:, None] + lines[:, None] * some[:, None]).reshape(-1, 2)).reshape(3000, -1) * wavy(some)[:, None]
        <= 0,
        lines.abs(),
        inf,
    )
    flips = turned.amin(1) * some.norm(p=norm, dim=1)
    event = torch.maximum(torch.cdist(x, some, p=norm) / 2, flips).amin(1)
    torch.testing.assert_close(found.nearby, event, atol=3e-3, rtol=0)


@pytest.mark.parametrize("norm", [2.0, inf])
def test_laws(norm):
    x = on_circle(500)
    found = radii(wavy, x, single(x).sign(), around=around_circle(), norm=norm)
    assert bool((found.adversarial <= torch.minimum(found.in_manifold, found.normal)).all())
    assert bool(((found.adversarial == 0) == found.wrong).all())
    last = None
    for epsilon in (1e-6, 0.02, 0.1, 0.2, 0.3):
        at = flags(found, epsilon)
        shares = attribution(at)
        now = risks(at)
        assert tuple(shares) == CAUSES
        assert sum(shares.values()) == pytest.approx(now["adversarial"], abs=1e-12)
        assert now["nearby_normal_printed"] <= now["nearby_normal"]
        assert now["adversarial"] <= now["bound"] or norm == inf
        if norm == 2.0:
            assert shares["unexplained"] == 0
        if last is None:
            assert now["adversarial"] == pytest.approx(now["standard"])
        else:
            names = ("adversarial", "normal", "in_manifold", "in_manifold_twice")
            assert all(last[name] <= now[name] for name in names)
        last = now


def test_theorem_1_is_false_as_printed_and_holds_repaired():
    at = examples.thin_sectors(0.1).risks(0.1)
    assert at["adversarial"] == 1.0
    assert at["standard"] == at["in_manifold_twice"] == at["nearby_normal_printed"] == 0.0
    assert at["normal"] == pytest.approx(0.02, abs=1e-3)
    assert at["bound_printed"] == at["normal"]
    assert at["bound"] == 1.0


def test_part_ii_needs_data_on_all_of_the_manifold():
    at = examples.arc(0.1).risks(0.1)
    assert at["standard"] == at["normal"] == at["in_manifold_twice"] == 0.0
    assert at["adversarial"] == pytest.approx(examples.arc_risk(0.1), abs=2e-3)
    assert examples.arc_risk(0.1) == pytest.approx(0.178, abs=5e-4)


@pytest.mark.parametrize(("n", "known"), [(3, 0.8399), (7, 0.9589), (10, 1.0)])
def test_theorem_2_has_the_risk_of_its_intervals(n, known):
    assert examples.strip_risk(n, 0.1) == pytest.approx(known, abs=1e-4)
    at = examples.strip(n, 0.1).risks(0.1)
    assert at["adversarial"] == pytest.approx(known, abs=1e-3)
    assert at["normal"] == pytest.approx(1 / n, abs=1e-3)
    assert at["standard"] == at["in_manifold_twice"] == 0.0
    assert at["nearby_normal"] == pytest.approx(1 - 1 / n, abs=1e-3)


def test_the_first_cause_is_taken():
    everything = torch.tensor(
        [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool
    ).T
    fooled = torch.tensor([True, True, True, True, True])
    found = Flags(everything[0], fooled, everything[1], everything[2], everything[2], everything[3], everything[3])
    assert cause(found).tolist() == [0, 1, 2, 3, 4]
    assert set(attribution(found).values()) == {0.2}
    none = Flags(*(torch.zeros(5, dtype=torch.bool),) * 7)
    assert cause(none).tolist() == [-1] * 5
    assert sum(attribution(none).values()) == 0


def test_nothing_to_be_found_is_infinite():
    x = on_circle(8)
    found = radii(lambda points: points.new_ones(len(points)), x, torch.ones(8), around=around_circle(100))
    assert bool(found.adversarial.isinf().all())
    assert bool(found.nearby.isinf().all())
    assert all(value == 0 for value in risks(flags(found, 10.0)).values())
    wrong = radii(lambda points: points.new_zeros(len(points)), x, torch.ones(8), around=around_circle(100))
    assert bool(wrong.wrong.all())  # a score of 0 is right for neither label
    assert risks(flags(wrong, 0.1))["adversarial"] == 1


def test_inputs_do_not_change_and_their_order_does_not_matter():
    x = on_circle(40)
    y = single(x).sign()
    before = x.clone()
    found = radii(wavy, x, y, around=around_circle())
    turned = radii(wavy, x.flip(0), y.flip(0), around=around_circle())
    assert torch.equal(x, before)
    for name in ("wrong", "adversarial", "in_manifold", "normal", "nearby"):
        torch.testing.assert_close(getattr(found, name), getattr(turned, name).flip(0))


def test_normals_are_normal_and_tubes_start_with_their_nodes():
    manifold = Sphere().load({})
    x = manifold.sample(20, torch.Generator().manual_seed(0))
    torch.testing.assert_close((unit_normals(manifold, x) * x).sum(1).abs(), torch.ones(20, dtype=torch.float64))
    points = tube(manifold, x, radius=0.2, steps=4)
    assert points.shape == (180, 3)
    assert torch.equal(points[:20], x)
    torch.testing.assert_close(manifold.distance(points[20:]).reshape(8, 20).amax(1)[3], torch.tensor(0.2).double())


def test_grids_are_midpoints():
    assert box_grid((0.0,), (1.0,), spacing=1 / 49).shape == (49, 1)
    assert box_grid((0.0, 2.0), (1.0, 3.0), spacing=0.5).tolist() == [
        [0.25, 2.25],
        [0.25, 2.75],
        [0.75, 2.25],
        [0.75, 2.75],
    ]
    for low, high, spacing in (((0.0,), (0.0,), 0.1), ((0.0,), (1.0,), 0.0), ((0.0,), (nan,), 0.1)):
        with pytest.raises(ValueError, match="needed"):
            box_grid(low, high, spacing=spacing)


def test_bad_input_is_refused():
    x, around = on_circle(4), around_circle(100)
    y = torch.ones(4)
    bad = [
        (x, torch.tensor([0, 1, 1, 1]), around, 2.0, "labels are -1 or 1"),
        (x[0], y, around, 2.0, "inputs"),
        (x[:0], y[:0], around, 2.0, "one at least"),
        (x, y[:3], around, 2.0, "labels"),
        (x * nan, y, around, 2.0, "finite"),
        (x.half(), y, around, 2.0, "float32 or float64"),
        (x, y, around, 3.0, "norm"),
        (x, y, Neighbourhood(around.manifold, x[:, :1], x, 0.1, 0.1), 2.0, "nodes"),
        (x, y, Neighbourhood(around.manifold, x, x[:0], 0.1, 0.1), 2.0, "surroundings"),
        (x, y, Neighbourhood(around.manifold, x, x, 0.0, 0.1), 2.0, "spacing"),
    ]
    for points, labels, neighbourhood, norm, words in bad:
        with pytest.raises(ValueError, match=words):
            radii(single, points, labels, around=neighbourhood, norm=norm)
    curve = Neighbourhood(around.manifold, torch.ones(1, 3).double(), torch.ones(1, 3).double(), 0.1, 0.1)
    with pytest.raises(ValueError, match="hypersurface"):
        unit_normals(curve.manifold, curve.nodes)
    nothing = torch.zeros(4)
    for epsilon in (0.0, -1.0, nan):
        with pytest.raises(ValueError, match="epsilon must be positive"):
            flags(Radii(nothing.bool(), nothing, nothing, nothing, nothing), epsilon)
