"""The largest balls of cells against closed forms, scipy's linprog and the paper's cvxpy programs."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from geometry.polyhedra import _linear_program
from geometry.polyhedra._chebyshev_space import bounded_ball
from geometry.polyhedra._linear_program import Program, SolverFailed
from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.chebyshev_center import chebyshev_center
from geometry.polyhedra.convex_programs import chebyshev_radius
from geometry.polyhedra.halfspaces import EmptyCell, Halfspaces, halfspaces, pattern_halfspaces


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def one_layer(weight, bias):
    """A network with one hidden layer of the given weights."""
    weight, bias = tensor(weight), tensor(bias)
    network = nn.Sequential(nn.Linear(weight.shape[1], len(weight)), nn.ReLU(), nn.Linear(len(weight), 1)).double()
    network[0].weight.data, network[0].bias.data = weight, bias
    return network


def random_network(*widths, seed):
    torch.manual_seed(seed)
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2)).double()


def solved(cell, *, box=None):
    """The radius by scipy, inf where the program is unbounded."""
    normals, offsets = cell.normals.numpy(), cell.offsets.numpy()
    d = normals.shape[1]
    rows, ends = [np.column_stack([normals, np.linalg.norm(normals, axis=1)])], [offsets]
    if box is not None:
        rows += [np.column_stack([np.eye(d), np.ones(d)]), np.column_stack([-np.eye(d), np.ones(d)])]
        ends += [np.full(d, box[1]), np.full(d, -box[0])]
    found = linprog(-np.eye(d + 1)[d], np.concatenate(rows), np.concatenate(ends), bounds=(None, None))
    return math.inf if found.status == 3 else float(found.x[d])


def test_the_strip_of_the_xor_network():
    network = one_layer([[1, 1], [1, 1]], [1, 0])
    ball = chebyshev_center(halfspaces(network, tensor([-0.3, -0.3])))
    assert ball.radius == pytest.approx(1 / (2 * math.sqrt(2)), abs=1e-15)
    assert float(ball.center.sum()) == pytest.approx(-0.5, abs=1e-15)
    assert ball.tolerance < 1e-12
    for outer in ([1.0, 1], [-1, -1]):
        assert chebyshev_center(halfspaces(network, tensor(outer))).radius == math.inf


@pytest.mark.parametrize("side", [1e3, 1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("box", [None, (-2e3, 2e3)])
def test_the_triangle(side, box):
    network = one_layer([[1, 0], [0, 1], [-1, -1]], [0, 0, side])
    ball = chebyshev_center(halfspaces(network, tensor([side / 4, side / 3])), box=box)
    assert ball.radius == pytest.approx(side * (2 - math.sqrt(2)) / 2, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(ball.center, tensor([ball.radius, ball.radius]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("box", [(0.0, 1.0), (tensor([-1, 0, 0, 2]), tensor([3, 1, 5, 8]))])
def test_a_cell_that_holds_the_box(box):
    cell = Halfspaces(tensor([[1, 0, 0, 0]]), tensor([100]))
    ball = chebyshev_center(cell, box=box)
    assert ball.radius == 0.5
    assert ball.tolerance == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("widths", [(1, 4), (2, 6, 5), (3, 8, 8), (5, 6, 6, 6), (12, 5, 9)])
def test_agrees_with_linprog(widths, seed):
    cell = halfspaces(random_network(*widths, seed=seed), torch.rand(widths[0], dtype=torch.float64))
    for box in (None, (0, 1), (-3.0, 2.0)):
        ball = chebyshev_center(cell, box=box)
        expected = solved(cell, box=box)
        assert ball.radius == pytest.approx(expected, abs=1e-7)
        if box is not None:
            inside = torch.minimum(ball.center - box[0], box[1] - ball.center).min()
            assert inside >= ball.radius - 1e-14
        room = (cell.offsets - cell.normals @ ball.center) / cell.normals.norm(dim=1)
        assert ball.radius == math.inf or float(room.min()) >= ball.radius - 1e-12


@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
def test_agrees_with_the_paper(box):
    """Within what cvxpy's solver promises; it needs a cap where there is no box."""
    for seed in range(3):
        cell = halfspaces(random_network(20, 15, 15, seed=seed), torch.rand(20, dtype=torch.float64))
        expected = chebyshev_radius(cell, box=box, cap=10.0)
        assert min(chebyshev_center(cell, box=box).radius, 10.0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_rotated_and_embedded_cells_keep_their_radius(seed):
    """Rows of one space, seen in a larger one: the reduction to the rows' space loses nothing."""
    torch.manual_seed(seed)
    normals, offsets = torch.randn(9, 3, dtype=torch.float64), torch.rand(9, dtype=torch.float64)
    normals = torch.cat([normals, -normals.sum(0, keepdim=True)])
    offsets = torch.cat([offsets, tensor([1.0])])
    embedding = torch.linalg.qr(torch.randn(30, 3, dtype=torch.float64)).Q
    small = chebyshev_center(Halfspaces(normals, offsets))
    large = chebyshev_center(Halfspaces(normals @ embedding.T, offsets, first=4))
    misled = chebyshev_center(Halfspaces(normals @ embedding.T, offsets, first=1))
    assert small.radius < math.inf
    assert large.radius == pytest.approx(small.radius, abs=1e-9)
    assert misled.radius == pytest.approx(small.radius, abs=1e-9)


def test_degenerate_units_change_nothing():
    """Duplicate, scaled, negated, dead and constant units of the same planes."""
    simple = one_layer([[1, 0], [0, 1], [-1, -1]], [0, 0, 1])
    weight = [[1, 0], [0, 1], [-1, -1], [2, 0], [-1, 0], [0, 0], [0, 0], [0, 1]]
    degenerate = one_layer(weight, [0, 0, 1, 0, 0, -1, 2, 0])
    x = tensor([0.2, 0.3])
    for box in (None, (-4, 4), (0, 1)):
        expected = chebyshev_center(halfspaces(simple, x), box=box)
        ball = chebyshev_center(halfspaces(degenerate, x), box=box)
        assert ball.radius == pytest.approx(expected.radius, abs=1e-12)


@pytest.mark.parametrize("box", [None, (-1, 1)])
def test_zero_biases_and_a_point_on_a_plane(box):
    network = one_layer([[1, 0], [0, 1], [1, 1]], [0, 0, 0])
    ball = chebyshev_center(halfspaces(network, tensor([0, 0])), box=box)
    assert ball.radius == (math.inf if box is None else pytest.approx(0.5))


def test_a_cell_without_interior_has_the_radius_0():
    flat = Halfspaces(tensor([[1, 0], [-1, 0]]), tensor([0.5, -0.5]))
    for box in (None, (0, 1)):
        ball = chebyshev_center(flat, box=box)
        assert ball.radius == pytest.approx(0, abs=1e-9)


def test_a_pattern_that_no_point_has():
    network = one_layer([[1, 1], [1, 1]], [1, 0])
    cell = pattern_halfspaces(network, torch.tensor([False, True]))
    for box in (None, (-1, 1)):
        with pytest.raises(EmptyCell, match=r"0\.354 apart"):
            chebyshev_center(cell, box=box)
    dead = pattern_halfspaces(one_layer([[0, 0], [1, 0]], [-1, 0]), torch.tensor([True, True]))
    with pytest.raises(EmptyCell, match="unit 0 does not depend"):
        chebyshev_center(dead)


def test_a_cell_outside_the_box_is_empty_there():
    cell = pattern_halfspaces(one_layer([[1, 0]], [-5]), torch.tensor([True]))
    with pytest.raises(EmptyCell, match="empty"):
        chebyshev_center(cell, box=(0, 1))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 1), "empty or inverted"),
        ((1, 0), "empty or inverted"),
        ((0, math.inf), "finite"),
        ((math.nan, 1), "finite"),
        ((0.5, 1), "outside the box: its coordinate 0 is 0.1"),
        ((torch.zeros(3), 1), "3 coordinates"),
    ],
)
def test_senseless_boxes_are_refused(box, message):
    cell = halfspaces(one_layer([[1, 0]], [0]), tensor([0.1, 0.6]))
    with pytest.raises(ValueError, match=message):
        chebyshev_center(cell, box=box)


def test_rows_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        chebyshev_center(Halfspaces(tensor([[1, math.nan]]), tensor([1])))


@pytest.mark.parametrize("option", [{"simplex_iteration_limit": 0}, {"time_limit": 0.0}])
def test_a_solver_that_does_not_finish_is_an_error_by_name(monkeypatch, option):
    monkeypatch.setattr(_linear_program, "_OPTIONS", _linear_program._OPTIONS | option)
    cell = halfspaces(random_network(3, 8, 8, seed=0), tensor([0.1, 0.2, 0.3]))
    with pytest.raises(SolverFailed, match="limit reached"):
        chebyshev_center(cell, box=(0, 1))
    with pytest.raises(SolverFailed, match="limit reached"):
        chebyshev_center(cell)


def test_an_unbounded_program_is_no_number():
    program = Program(costs=np.array([-1.0]), lower=np.zeros(1), upper=np.full(1, math.inf))
    with pytest.raises(SolverFailed, match="Unbounded"):
        program.solve()
    with pytest.raises(SolverFailed, match="neither bounded"):
        bounded_ball(np.array([[1.0]]), np.array([1.0]))


def test_nothing_is_printed(capfd):
    chebyshev_center(halfspaces(random_network(3, 5, seed=0), tensor([0.1, 0.2, 0.3])), box=(0, 1))
    assert capfd.readouterr().out == ""


def test_a_deep_network_and_its_pattern_agree():
    network, x = random_network(5, 7, 7, 7, seed=1), torch.rand(5, dtype=torch.float64)
    pattern = activation_pattern(network, x[None])[0]
    first = chebyshev_center(halfspaces(network, x), box=(0, 1)).radius
    assert chebyshev_center(pattern_halfspaces(network, pattern), box=(0, 1)).radius == pytest.approx(first, abs=1e-9)
