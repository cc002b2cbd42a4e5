"""Slices against sampled patterns, the areas of their polygons, and traversal of the composed network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.plane_slice import plane_slice
from geometry.polyhedra.traverse import traverse


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.stem(x))
        return self.head(relu(x + self.norm(self.inner(x))).mean((2, 3)))


def _networks():
    torch.manual_seed(0)
    yield "pool", nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    yield "overlapping pool", nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    yield "residual", _Residual().eval()
    yield (
        "dense",
        nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 2)),
    )


def _area(polygon):
    x, y = polygon.T
    return 0.5 * float((x * y.roll(-1) - y * x.roll(-1)).sum())


@pytest.mark.parametrize(("name", "network"), _networks())
def test_cells_fill_the_box_and_sampling_finds_no_other(name, network):
    network = network.double()
    a, b, c = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    found = plane_slice(network, a, torch.stack([b - a, c - a]), box=(-0.5, 1.0))
    assert sum(map(_area, found.cells.vertices)) == pytest.approx(1.5**2, rel=1e-9)
    at_points = activation_pattern(network, found.inputs(found.cells.points))
    assert (at_points[:, found.units] == found.cells.patterns).all()
    grid = torch.rand(4000, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1.5 - 0.5
    sampled = activation_pattern(network, found.inputs(grid))
    changing = set((sampled.any(0) & ~sampled.all(0)).nonzero().flatten().tolist())
    assert changing <= set(found.units.tolist())
    assert {r.numpy().tobytes() for r in sampled[:, found.units]} <= {r.numpy().tobytes() for r in found.cells.patterns}


def test_a_plain_network_on_a_plane_is_a_network_of_two_inputs():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(9, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 1)).double()
    origin, directions = torch.randn(9).double(), torch.randn(2, 9).double()
    inside = nn.Linear(2, 9).double()
    inside.weight.data, inside.bias.data = directions.T, origin
    expected = traverse(nn.Sequential(inside, *network), (-1.0, 1.0))
    found = plane_slice(network, origin, directions, box=(-1.0, 1.0))
    assert len(found.cells) == len(expected)
    assert len(found.cells.neighbours) == len(expected.neighbours)
    ours = {row.numpy().tobytes() for row in found.cells.patterns}
    assert ours == {row.numpy().tobytes() for row in expected.patterns[:, found.units]}


def test_too_many_cells_are_cut_short_and_marked():
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(9, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1)
    ).double()
    origin, directions = torch.zeros(1, 3, 3), torch.randn(2, 1, 3, 3)
    found = plane_slice(network, origin, directions, box=(-3.0, 3.0), max_cells=10)
    assert not found.cells.complete
    assert len(found.cells) == 10
    at_points = activation_pattern(network, found.inputs(found.cells.points))
    assert (at_points[:, found.units] == found.cells.patterns).all()


def test_a_slice_that_no_unit_crosses_is_one_cell():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    network[0].bias.data.fill_(100.0)
    found = plane_slice(network, torch.zeros(2), torch.eye(2))
    assert (len(found.cells), found.cells.patterns.shape, len(found.units)) == (1, (1, 0), 0)
    np.testing.assert_allclose(_area(found.cells.vertices[0]), 1.0)


def test_senseless_planes_are_refused():
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(ValueError, match="two directions"):
        plane_slice(network, torch.zeros(4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="are dependent"):
        plane_slice(network, torch.zeros(4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="empty or inverted"):
        plane_slice(network, torch.zeros(4), torch.eye(4)[:2], box=(1.0, 0.0))
    with pytest.raises(ValueError, match="module '1' \\(GELU\\)"):
        plane_slice(nn.Sequential(nn.Linear(4, 3), nn.GELU()), torch.zeros(4), torch.eye(4)[:2])
    with pytest.raises(ValueError, match="one cell"):
        plane_slice(nn.Linear(4, 3), torch.zeros(4), torch.eye(4)[:2])
