"""Active bits against one linear program a row (scipy), the paper's way (cvxpy), and networks with known facets."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from geometry.polyhedra._facet_points import facets_by_points
from geometry.polyhedra.active_bits import active_bits
from geometry.polyhedra.convex_programs import is_active
from geometry.polyhedra.halfspaces import EmptyCell, Halfspaces, halfspaces, pattern_halfspaces


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def random_network(*widths, seed):
    torch.manual_seed(seed)
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2)).double()


def one_by_one(cell, *, box=None):
    """Which rows the others, without those equal to it, reach beyond: by scipy, with the row put off by 1."""
    norms = cell.normals.norm(dim=1, keepdim=True)
    rows, ends = (cell.normals / norms).numpy(), (cell.offsets / norms[:, 0]).numpy()
    active = []
    for row, end in zip(rows, ends, strict=True):
        same = (np.abs(rows - row).max(1) < 1e-9) & (np.abs(ends - end) < 1e-9)
        found = linprog(-row, rows, ends + same, bounds=(None, None) if box is None else box)
        active.append(found.status == 3 or -found.fun > end + 1e-7)
    return torch.tensor(active)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("widths", [(1, 5), (2, 8, 8), (3, 10, 10, 10), (5, 12, 12), (20, 8, 14)])
def test_agrees_with_a_program_a_row(widths, seed):
    cell = halfspaces(random_network(*widths, seed=seed), torch.rand(widths[0], dtype=torch.float64))
    for box in (None, (0, 1)):
        found = active_bits(cell, box=box)
        assert torch.equal(found.active, one_by_one(cell, box=box))
        assert found.plane.tolist() == list(range(len(cell.offsets)))


def test_agrees_with_the_paper():
    cell = halfspaces(random_network(6, 8, 8, seed=3), torch.rand(6, dtype=torch.float64))
    for box in (None, (0.0, 1.0)):
        expected = [is_active(cell, row, box=box) for row in range(16)]
        assert active_bits(cell, box=box).active.tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_points_show_facets_only(seed):
    """Tangent planes of a sphere are facets, those pushed out are not."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((120, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    slack = np.r_[np.ones(80), np.full(40, 3.0)]
    shown = facets_by_points(rows, slack)
    assert shown[:80].sum() > 70
    assert not shown[80:].any()


def test_most_facets_need_no_program():
    cell = halfspaces(random_network(40, 40, 40, seed=0), torch.rand(40, dtype=torch.float64))
    norms = cell.normals.norm(dim=1)
    room = (cell.offsets - cell.normals @ cell.point) / norms
    shown = facets_by_points((cell.normals / norms[:, None]).numpy(), room.numpy())
    active = active_bits(cell).active.numpy()
    assert not (shown & ~active).any()
    assert shown.sum() > 0.7 * active.sum()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_triangle_and_a_distant_line(scale):
    normals = tensor([[-1, 0], [0, -1], [1, 1], [1, 0]])
    cell = Halfspaces(normals, tensor([0, 0, 1, 1.5]) * scale, tensor([0.25, 0.25]) * scale)
    assert active_bits(cell).active.tolist() == [True, True, True, False]
    touching = Halfspaces(normals, tensor([0, 0, 1, 1]) * scale, tensor([0.25, 0.25]) * scale)
    assert not active_bits(touching).active[3]


def test_twins_are_active_together():
    """Duplicate, scaled and negated units lie on one plane; zero rows on none."""
    normals = tensor([[1, 0], [2, 0], [1, 0], [0, 1], [0, 0], [1, 0]])
    cell = Halfspaces(normals, tensor([1, 2, 1, 1, 3, 5]), tensor([0, 0]))
    found = active_bits(cell)
    assert found.active.tolist() == [True, True, True, True, False, False]
    assert found.plane.tolist() == [0, 0, 0, 1, -1, 2]
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).double()
    network[0].weight.data, network[0].bias.data = tensor([[1, 0], [-1, 0], [0.5, 0]]), tensor([1, -1, 0.5])
    found = active_bits(halfspaces(network, tensor([0.3, 0.4])))
    assert found.active.all()
    assert found.plane.tolist() == [0, 0, 0]


def test_a_point_on_a_plane_and_zero_biases():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).double()
    network[0].weight.data, network[0].bias.data = tensor([[1, 0], [0, 1], [1, 1]]), torch.zeros(3).double()
    found = active_bits(halfspaces(network, tensor([0, 0])))
    assert found.active.tolist() == [True, True, False]
    assert active_bits(halfspaces(network, tensor([-1, 3])), box=(-4, 4)).active.tolist() == [True, False, True]


def test_parallel_planes():
    cell = Halfspaces(tensor([[1, 0], [-1, 0], [1, 0]]), tensor([1, 1, 2]), tensor([0, 0]))
    assert active_bits(cell).active.tolist() == [True, True, False]
    assert active_bits(cell, box=(-0.5, 0.5)).active.tolist() == [False, False, False]


def test_a_box_hides_facets():
    cell = Halfspaces(tensor([[1, 1], [1, -1]]), tensor([1, 3]), tensor([0, 0]))
    assert active_bits(cell).active.tolist() == [True, True]
    assert active_bits(cell, box=(-1, 1)).active.tolist() == [True, False]


def test_a_cell_without_interior_has_no_facets():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double()
    network[0].weight.data, network[0].bias.data = tensor([[1, 1], [1, 1]]), tensor([1, 0])
    with pytest.raises(EmptyCell):
        active_bits(pattern_halfspaces(network, torch.tensor([False, True])))
    with pytest.raises(EmptyCell, match="no interior"):
        active_bits(Halfspaces(tensor([[1, 0], [-1, 0]]), tensor([0.5, -0.5])))


@pytest.mark.parametrize(
    ("box", "message"), [((1, 0), "inverted"), ((0, math.inf), "finite"), ((0.5, 1), "outside the box")]
)
def test_senseless_boxes_are_refused(box, message):
    cell = Halfspaces(tensor([[1, 0]]), tensor([1]), tensor([0.1, 0.6]))
    with pytest.raises(ValueError, match=message):
        active_bits(cell, box=box)


@pytest.mark.parametrize("seed", range(3))
def test_one_bit_flips_across_each_facet(seed):
    """Beyond a facet, a point differs from the cell in that bit; known in generic networks."""
    network = random_network(3, 9, 9, seed=seed)
    x = torch.rand(3, dtype=torch.float64)
    cell = halfspaces(network, x)
    found = active_bits(cell)
    directions = torch.randn(3000, 3, dtype=torch.float64)
    speed = directions @ cell.normals.T
    times = torch.where(speed > 0, (cell.offsets - cell.normals @ x) / speed, torch.inf)
    first = times.argmin(1)[times.amin(1).isfinite()]
    assert found.active[first].all()
