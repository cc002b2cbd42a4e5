"""All cells against closed forms, exact clipping with fractions, linear programs, sampling, and one way against the other."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.spatial import ConvexHull
from torch import nn

from geometry.polyhedra import _walk
from geometry.polyhedra import traverse as module
from geometry.polyhedra._linear_program import INFINITE, Program, SolverFailed
from geometry.polyhedra._network import dense_layers
from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.traverse import estimated_cells, traverse


def _network(*widths, seed=0, bias=1.0):
    """Random layers of these widths, ReLUs between them, in float64."""
    random = np.random.default_rng(seed)
    layers = [(random.standard_normal((n, m)), bias * random.standard_normal(n)) for m, n in itertools.pairwise(widths)]
    return _given(*layers)


def _given(*layers):
    modules = []
    for weight, bias in layers:
        linear = nn.Linear(len(weight[0]), len(weight)).double()
        linear.weight.data = torch.as_tensor(np.array(weight, dtype=np.float64))
        linear.bias.data = torch.as_tensor(np.array(bias, dtype=np.float64))
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def _one_layer(weight, bias):
    return _given((weight, bias), ([[1.0] * len(weight)], [0.0]))


def _same(one, other):
    """Whether two results hold the same cells, bounded alike, with the same neighbours."""
    number = {pattern.numpy().tobytes(): i for i, pattern in enumerate(one.patterns)}
    keys = [pattern.numpy().tobytes() for pattern in other.patterns]
    assert set(number) == set(keys)
    place = torch.tensor([number[key] for key in keys])
    assert (one.bounded[place] == other.bounded).all()
    pairs = {tuple(sorted(pair)) for pair in one.neighbours.tolist()}
    assert pairs == {tuple(sorted(pair)) for pair in place[other.neighbours].tolist()}


def _area(polygon):
    x, y = polygon.T
    return 0.5 * float((x * y.roll(-1) - y * x.roll(-1)).sum())


@pytest.fixture(params=["cut", "walked"])
def way(request, monkeypatch):
    """Both ways of finding cells, whatever the dimensions."""
    if request.param == "walked":
        monkeypatch.setattr(module, "MOST_CUT", 0)
    return request.param


@pytest.mark.parametrize(("d", "n"), [(1, 1), (1, 6), (2, 1), (2, 2), (2, 9), (3, 2), (3, 8), (4, 7), (5, 7)])
def test_planes_in_general_position(d, n):
    cells = traverse(_network(d, n, 1))
    assert len(cells) == sum(comb(n, i) for i in range(d + 1)) == estimated_cells(d, n)
    assert int(cells.bounded.sum()) == (comb(n - 1, d) if n >= d else 0)
    assert len(cells.neighbours) == n * sum(comb(n - 1, i) for i in range(d))
    assert cells.complete


@pytest.mark.parametrize(("d", "n"), [(2, 7), (3, 6), (4, 6)])
def test_planes_through_the_origin(d, n):
    cells = traverse(_network(d, n, 1, bias=0.0))
    assert len(cells) == 2 * sum(comb(n - 1, i) for i in range(d))
    assert not cells.bounded.any()


def test_the_strips_of_xor(way):
    """Sattelberg et al. 2023, equation (3): three cells; a fourth pattern has no points."""
    network = _given(([[1.0, 1], [1, 1]], [1.0, 0]), ([[2.0, -4]], [-1.0]))
    for box, bounded in ((None, 0), ((-3.0, 3.0), 3)):
        cells = traverse(network, box)
        assert sorted(cells.patterns.int().tolist()) == [[0, 0], [1, 0], [1, 1]]
        assert (int(cells.bounded.sum()), len(cells.neighbours)) == (bounded, 2)


@pytest.mark.parametrize("epsilon", [1.0, 1e-4, 1e-10])
def test_a_small_triangle(epsilon):
    cells = traverse(_one_layer([[1.0, 0], [0, 1], [-1, -1]], [0.0, 0, epsilon]))
    assert (len(cells), int(cells.bounded.sum()), len(cells.neighbours)) == (7, 1, 9)
    (triangle,) = [polygon for polygon, bounded in zip(cells.vertices, cells.bounded, strict=True) if bounded]
    assert _area(triangle) == pytest.approx(epsilon**2 / 2, rel=1e-5)


DEGENERATE = {
    "twins, a mirrored one, dead and constant units": (
        _one_layer([[1.0, 0], [2, 0], [-1, 0], [0, 1], [0, 0], [0, 0], [0, 0]], [0.1, 0.2, -0.1, 0.2, 1, -1, 0]),
        4,
        4,
    ),
    "relu of relu": (_given(([[1.0]], [0.0]), ([[1.0]], [0.0]), ([[1.0]], [0.0])), 2, 1),
    "parallel planes": (_one_layer([[1.0, 1]] * 3, [0.0, 0.5, -0.5]), 4, 3),
    "many planes through one point": (_one_layer([[1.0, 0], [0, 1], [1, 1], [1, -1]], [0.0] * 4), 8, 8),
    "no unit ever on": (_given(([[1.0, 0], [0, 1]], [-9.0, -9]), ([[1.0, 1]], [0.0]), ([[1.0]], [0.0])), 1, 0),
    "constant units only": (_one_layer([[0.0, 0]], [0.0]), 1, 0),
    "twins of a later layer": (
        _given(([[1.0, 0], [0, 1]], [0.0, 0]), ([[1.0, 1], [2, 2], [-1, -1]], [-1.0, -2, 1]), ([[1.0] * 3], [0.0])),
        7,
        9,
    ),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_networks_in_a_box(name, way):
    """Counts by hand, in [-2, 2]^d."""
    network, number, pairs = DEGENERATE[name]
    cells = traverse(network, (-2.0, 2.0))
    assert (len(cells), len(cells.neighbours)) == (number, pairs)
    assert (activation_pattern(network, cells.points) == cells.patterns).all()


def test_twins_add_nothing(way):
    random = np.random.default_rng(3)
    weight, bias = random.standard_normal((5, 2)), random.standard_normal(5)
    plain, twins = _one_layer(weight, bias), _one_layer(np.r_[weight, -2 * weight], np.r_[bias, -2 * bias])
    one, other = traverse(plain), traverse(twins)
    assert (len(one), len(one.neighbours)) == (len(other), len(other.neighbours))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_length_does_not_matter(scale):
    random = np.random.default_rng(1)
    first, second = random.standard_normal((6, 2)), random.standard_normal((5, 6))
    network = _given((first, scale * random.standard_normal(6)), (second, scale * np.ones(5)), ([[1.0] * 5], [0.0]))
    assert len(traverse(network)) == len(traverse(_rescaled(network, 1 / scale)))


def _rescaled(network, factor):
    return _given(*[(weight, bias * factor) for weight, bias in dense_layers(network)])


def _clipped(polygon, normal, offset):
    """The part of a polygon where normal.x + offset >= 0, in fractions."""
    heights = [normal[0] * x + normal[1] * y + offset for x, y in polygon]
    kept = []
    for i, (p, h) in enumerate(zip(polygon, heights, strict=True)):
        q, g = polygon[i - 1], heights[i - 1]
        if h * g < 0:
            kept.append(tuple(a + (b - a) * g / (g - h) for a, b in zip(q, p, strict=True)))
        if h >= 0:
            kept.append(p)
    return kept


def _exact_cells(network, ends):
    """Bits and area of every cell in a square, by rational clipping, one unit after another."""
    low, high = map(Fraction, ends)
    identity = [[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]]
    cells = [((), [(low, low), (high, low), (high, high), (low, high)], identity, [Fraction(0)] * 2)]
    for weight, bias in dense_layers(network)[:-1]:
        found = []
        for bits, polygon, matrix, shift in cells:
            rows = [
                [sum(Fraction(w) * m[j] for w, m in zip(row, matrix, strict=True)) for j in (0, 1)]
                for row in weight.tolist()
            ]
            shifts = [
                sum(Fraction(w) * s for w, s in zip(row, shift, strict=True)) + Fraction(b)
                for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
            ]
            parts = [((), polygon)]
            for row, offset in zip(rows, shifts, strict=True):
                both = [
                    ((*part_bits, bit), _clipped(part, [sign * r for r in row], sign * offset))
                    for part_bits, part in parts
                    for bit, sign in ((1, 1), (0, -1))
                ]
                parts = [(b, p) for b, p in both if _exact_area(p) > 0]
            for part_bits, part in parts:
                on = [[bit * r for r in row] for bit, row in zip(part_bits, rows, strict=True)]
                found.append((bits + part_bits, part, on, [b * s for b, s in zip(part_bits, shifts, strict=True)]))
        cells = found
    return {bits: float(_exact_area(polygon)) for bits, polygon, _, _ in cells}


def _whole_numbers(seed, d):
    """A small network of weights and biases -1, 0 and 1: coinciding, parallel, dead and constant units abound."""
    random = np.random.default_rng(seed)
    widths = [d, *random.integers(2, 5, random.integers(1, 3)), 1]
    shift = random.integers(0, 2)
    return _given(
        *[(random.integers(-1, 2, (n, m)), shift * random.integers(-1, 2, n)) for m, n in itertools.pairwise(widths)]
    )


@pytest.mark.parametrize("seed", range(20))
def test_whole_numbers_in_a_box_are_clipped_alike(seed):
    """A unit that is 0 on a whole cell has the bit 0; the clipping keeps such a cell with both bits."""
    network = _whole_numbers(seed, 2)
    expected, cells = _exact_cells(network, (-3, 3)), traverse(network, (-3.0, 3.0))
    found = {tuple(bits): _area(v) for bits, v in zip(cells.patterns.int().tolist(), cells.vertices, strict=True)}
    assert sum(found.values()) == pytest.approx(36)
    assert all(found[bits] == pytest.approx(expected[bits]) for bits in found)
    for bits in set(expected) - set(found):
        assert any(expected[bits] == pytest.approx(found[less]) for less in found if np.less_equal(less, bits).all())


@pytest.mark.parametrize("seed", [*range(8), 1001, 1031, 1117, 1128, 1138])
def test_whole_numbers_in_the_whole_space_are_walked_alike(seed, monkeypatch):
    network = _whole_numbers(seed, 2 + seed % 2)
    cut = traverse(network)
    monkeypatch.setattr(module, "MOST_CUT", 0)
    _same(cut, traverse(network))


def test_rounding_at_infinity_is_no_cell():
    """The first layer is silent along a ray; what rounding leaves of it there once made cells at 1e14."""
    first = ([[1.0, 1], [1, -1], [1, -1], [-1, 1]], [0.0, 0, -1, 0])
    second = ([[1.0, 1, 1, -1], [1, 1, 1, -1], [0, 1, -1, 1]], [0.0] * 3)
    assert len(traverse(_given(first, second, ([[1.0] * 3], [0.0])))) == 7


def _exact_area(polygon):
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum((a[0] * b[1] - b[0] * a[1] for a, b in pairs), Fraction(0)) / 2


@pytest.mark.parametrize("widths", [(2, 6, 5, 1), (2, 4, 4, 3, 1)])
def test_clipping_with_fractions_finds_the_same_cells_and_areas(widths):
    network = _network(*widths, seed=2)
    expected = _exact_cells(network, (-2, 2))
    cells = traverse(network, (-2.0, 2.0))
    found = {
        tuple(map(int, bits)): _area(v) for bits, v in zip(cells.patterns.int().tolist(), cells.vertices, strict=True)
    }
    assert set(found) == set(expected)
    assert all(found[bits] == pytest.approx(area, rel=1e-9, abs=1e-14) for bits, area in expected.items())


def _by_linear_programs(network, d):
    """Bits of every cell in [-1, 1]^d that holds a ball of radius 1e-9: prefixes are extended unit by unit."""
    layers = dense_layers(network)[:-1]
    prefixes = [[]]
    for number in range(sum(len(bias) for _, bias in layers)):
        prefixes = [[*bits, bit] for bits in prefixes for bit in (0, 1) if _holds_a_ball(layers, [*bits, bit], d)]
        assert number < 20
    return {tuple(bits) for bits in prefixes}


def _holds_a_ball(layers, bits, d):
    matrix, shift, rows, sides, left = np.eye(d), np.zeros(d), [], [], list(bits)
    for weight, bias in layers:
        matrix, shift = weight @ matrix, weight @ shift + bias
        here, left = left[: len(bias)], left[len(bias) :]
        sign = 1 - 2 * np.array(here)
        rows.append(sign[:, None] * matrix[: len(here)])
        sides.append(-sign * shift[: len(here)])
        if not left:
            break
        matrix, shift = matrix * np.array(here)[:, None], shift * np.array(here)
    a, c = np.concatenate([*rows, np.eye(d), -np.eye(d)]), np.concatenate([*sides, np.ones(2 * d)])
    found = linprog(
        np.append(np.zeros(d), -1.0), np.c_[a, np.linalg.norm(a, axis=1)], c, bounds=[(None, None)] * d + [(0, 1)]
    )
    return found.status == 0 and found.x[-1] > 1e-9


@pytest.mark.parametrize(("widths", "seed"), [((3, 4, 3, 1), 0), ((4, 4, 3, 1), 1), ((6, 3, 3, 1), 2)])
def test_linear_programs_find_the_same_cells(widths, seed):
    network = _network(*widths, seed=seed)
    cells = traverse(network, (-1.0, 1.0))
    assert {tuple(bits) for bits in cells.patterns.int().tolist()} == _by_linear_programs(network, widths[0])


@pytest.mark.parametrize(
    "widths", [(1, 7, 5, 1), (2, 6, 5, 1), (3, 5, 4, 1), (4, 5, 3, 1), (5, 5, 2, 1), (20, 3, 5, 1)]
)
@pytest.mark.parametrize("box", [None, (-1.0, 1.0)])
def test_walking_finds_what_cutting_does(widths, box, monkeypatch):
    if widths[0] > 5 and box:
        pytest.skip("more dimensions than are cut")
    network = _network(*widths, seed=4)
    cut = traverse(network, box)
    monkeypatch.setattr(module, "MOST_CUT", 0)
    walked = traverse(network, box)
    for cells in (cut, walked):
        assert (activation_pattern(network, cells.points) == cells.patterns).all()
    _same(cut, walked)
    assert walked.tolerance > cut.tolerance > 0


def test_more_dimensions_than_are_cut():
    network = _network(7, 4, 3, 1, seed=1)
    cells = traverse(network, (-1.0, 1.0))
    assert cells.vertices == ()
    points = torch.rand(5000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    sampled = {bits.numpy().tobytes() for bits in activation_pattern(network, points)}
    assert sampled <= {bits.numpy().tobytes() for bits in cells.patterns}
    assert (activation_pattern(network, cells.points) == cells.patterns).all()


@pytest.mark.parametrize("widths", [(2, 10, 10, 1), (3, 8, 8, 1), (2, 3, 3, 3, 3, 3, 1)])
def test_cells_fill_the_box_and_sampling_finds_no_other(widths):
    network, d = _network(*widths, seed=5), widths[0]
    cells = traverse(network, (-1.0, 1.0))
    volumes = [_area(v) if d == 2 else ConvexHull(v.numpy()).volume for v in cells.vertices]
    assert min(volumes) > 0
    assert sum(volumes) == pytest.approx(2.0**d, rel=1e-12)
    points = torch.rand(20_000, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    sampled = {bits.numpy().tobytes() for bits in activation_pattern(network, points)}
    assert sampled <= {bits.numpy().tobytes() for bits in cells.patterns}


def test_vertices_lie_on_the_cell_and_neighbours_one_bit_apart():
    network = _network(2, 8, 8, 1, seed=6)
    cells = traverse(network)
    first, second = cells.patterns[cells.neighbours].unbind(1)
    assert ((first ^ second).sum(1) == 1).all()
    for pattern, vertices, point in zip(cells.patterns, cells.vertices, cells.points, strict=True):
        inward = vertices + 1e-4 * (point - vertices)  # closer than 1e-12 of the scale nothing can be told
        assert len(vertices) == 0 or (activation_pattern(network, inward) == pattern).all()


def test_the_whole_plane_is_more_than_a_big_box():
    network = _network(2, 12, 12, 1, seed=7)
    counts = [len(traverse(network, (-r, r))) for r in (1e1, 1e2, 1e3, 1e4)]
    whole = traverse(network)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= len(whole)
    assert len(traverse(network, (-1e7, 1e7))) == len(whole)


def test_boundedness_is_that_of_the_recession_cone():
    network = _network(3, 5, 4, 1, seed=8)
    cells = traverse(network)
    (first, b1), (second, b2) = dense_layers(network)[:-1]
    for pattern, bounded in zip(cells.patterns.numpy(), cells.bounded.tolist(), strict=True):
        rows = np.concatenate([first, second @ (pattern[:5, None] * first)]) * (1 - 2.0 * pattern)[:, None]
        ways = [
            linprog(sign * np.eye(3)[j], rows, np.zeros(9), bounds=[(-1, 1)] * 3).fun
            for j in range(3)
            for sign in (1, -1)
        ]
        assert bounded == (min(ways) > -1e-7)
    assert b1.shape == (5,)
    assert b2.shape == (4,)


def test_a_first_layer_of_low_rank_leaves_dimensions_out():
    narrow = _network(3, 6, 4, 1, seed=9)
    (weight, bias), *rest = dense_layers(narrow)
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 3)))
    wide = _given((weight @ basis.T, bias), *rest)
    one, other = traverse(narrow), traverse(wide)
    assert {p.numpy().tobytes() for p in one.patterns} == {p.numpy().tobytes() for p in other.patterns}
    assert not other.bounded.any()
    assert (activation_pattern(wide, other.points) == other.patterns).all()


def test_a_box_of_its_own_ends_for_each_coordinate():
    network = _network(2, 6, 1)
    cells = traverse(network, (torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 3.0])))
    corners = torch.cat(cells.vertices)
    assert corners.amin(0).tolist() == pytest.approx([-1.0, 0.0])
    assert corners.amax(0).tolist() == pytest.approx([1.0, 3.0])


def test_too_many_cells_are_cut_short_and_marked(way):
    network = _network(2, 8, 6, 1, seed=10)
    for box in (None, (-1.0, 1.0)):
        whole, few = traverse(network, box), traverse(network, box, max_cells=20)
        assert whole.complete
        assert not few.complete
        assert len(few) == 20
        assert {p.numpy().tobytes() for p in few.patterns} <= {p.numpy().tobytes() for p in whole.patterns}
        assert (activation_pattern(network, few.points) == few.patterns).all()


def test_as_many_cells_as_allowed_are_complete(way):
    network = _network(2, 6, 5, 1, seed=11)
    cells = traverse(network)
    assert traverse(network, max_cells=len(cells)).complete
    assert not traverse(network, max_cells=len(cells) - 1).complete


def test_a_network_without_units_has_one_cell():
    assert len(traverse(nn.Linear(2, 3).double())) == 1
    assert len(traverse(nn.Linear(7, 3).double(), (0.0, 1.0))) == 1


def test_an_unanswered_linear_program_is_an_error_by_name():
    program = Program(costs=np.zeros(2), lower=np.full(2, -INFINITE), upper=np.full(2, INFINITE))
    program.add_rows(np.array([[1.0, 0.0]]), np.array([1.0]))
    with pytest.raises(SolverFailed, match="'Unbounded', not as optimal"):
        _walk._maximum(program, np.array([0.0, 1.0]))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1.0, -1.0), "coordinate 0 goes from 1.0 to -1.0"),
        ((0.0, 0.0), "empty or inverted"),
        ((0.0, float("inf")), "must be finite"),
        ((float("nan"), 1.0), "must be finite"),
        ((torch.zeros(3), torch.ones(3)), "3 coordinates; the network takes 2"),
    ],
)
def test_no_box_is_refused(box, message):
    with pytest.raises(ValueError, match=message):
        traverse(_network(2, 3, 1), box)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="module '1' \\(Tanh\\)"):
        traverse(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    with pytest.raises(ValueError, match=r"batch-norm '1'.*eval"):
        traverse(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1)))
    broken = _network(2, 3, 1)
    broken[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"0\.weight holds NaN"):
        traverse(broken)
    with pytest.raises(ValueError, match="max_cells must be at least 1"):
        traverse(_network(2, 3, 1), max_cells=0)
