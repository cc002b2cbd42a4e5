"""Crossings of segments against a fine grid, bisection, Hamming distances and cells counted by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from geometry.polyhedra import _deep_segments
from geometry.polyhedra import crossings as module
from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.bisection import bisection
from geometry.polyhedra.crossings import crossings
from geometry.polyhedra.traverse import traverse


def _network(*widths, seed=0):
    torch.manual_seed(seed)
    modules = []
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*modules[:-1]).double()


def _double(values):
    return torch.tensor(values, dtype=torch.float64)


def _one_layer(weight, bias):
    network = nn.Sequential(nn.Linear(len(weight[0]), len(weight)), nn.ReLU(), nn.Linear(len(weight), 1)).double()
    network[0].weight.data, network[0].bias.data = _double(weight), _double(bias)
    return network


def _pairs(number, d, seed=0):
    return torch.randn(2, number, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def _on_grid(network, a, b, places):
    return activation_pattern(network, a + places[:, None] * (b - a))


@pytest.mark.parametrize("widths", [(5, 12, 1), (3, 8, 8, 8, 1), (20, 15, 10, 1)])
def test_cells_are_those_between_the_places(widths):
    network, (a, b) = _network(*widths), _pairs(9, widths[0])
    found = crossings(network, a, b)
    for i in range(len(a)):
        places = found.place[found.segment == i]
        ends = torch.cat([torch.zeros(1), places, torch.ones(1)])
        middles = (ends[1:] + ends[:-1]) / 2
        assert (ends.diff() > 0).all()
        assert (_on_grid(network, a[i], b[i], middles) == found.patterns(i)).all()
        assert ((found.patterns(i)[1:] ^ found.patterns(i)[:-1]).sum(1) == 1).all()


def test_a_fine_grid_meets_no_other_cell():
    network, (a, b) = _network(4, 10, 10, 10, 1), _pairs(3, 4)
    found = crossings(network, a, b)
    for i in range(len(a)):
        grid = _on_grid(network, a[i], b[i], torch.linspace(0, 1, 20_001, dtype=torch.float64))
        flips = (grid[1:] ^ grid[:-1]).any(1).sum()
        assert int(found.number[i]) - int(flips) in (0, 2)  # a grid steps over the shortest cells
        met = {bits.numpy().tobytes() for bits in found.patterns(i)}
        assert {bits.numpy().tobytes() for bits in grid} <= met


def test_hamming_distances_bound_the_number_of_crossings():
    """At least as many, equal modulo two, and equal for one layer."""
    for widths, deep in (((6, 30, 1), False), ((6, 10, 10, 10, 1), True)):
        network, (a, b) = _network(*widths), _pairs(50, 6)
        distance = (activation_pattern(network, a) ^ activation_pattern(network, b)).sum(1)
        more = crossings(network, a, b).number - distance
        assert (more >= 0).all()
        assert (more % 2 == 0).all()
        assert bool(more.any()) == deep


def test_bisection_steps_over_what_flips_back():
    network, (a, b) = _network(6, 12, 12, 12, 12, 1), _pairs(20, 6)
    found = crossings(network, a, b)
    missed = 0
    for i in range(len(a)):
        halved = bisection(network, a[i], b[i])
        cells = {bits.numpy().tobytes() for bits in found.patterns(i)}
        assert {bits.numpy().tobytes() for bits in halved.patterns} <= cells
        assert (halved.patterns[-1] == found.patterns(i)[-1]).all()
        assert ((halved.patterns[1:] ^ halved.patterns[:-1]).sum(1) == 1).all()
        missed += int(found.number[i]) + 1 - len(halved)
    assert missed >= 0


def test_an_off_on_pair_is_stepped_over():
    """A unit that is on only in the middle of the segment: three cells, of which bisection sees none."""
    hat = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    hat[0].weight.data, hat[0].bias.data = torch.ones(3, 1).double(), torch.tensor([10.0, -0.0, 10.0]).double()
    hat[2].weight.data, hat[2].bias.data = torch.tensor([[1.0, -2.0, 0.0]]).double(), torch.tensor([-9.5]).double()
    a, b = torch.tensor([[-1.0]]), torch.tensor([[1.0]])
    found = crossings(hat, a, b)
    assert found.place.tolist() == pytest.approx([0.25, 0.5, 0.75])
    assert found.patterns(0).int().tolist() == [[1, 0, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert len(bisection(hat, a[0], b[0])) == 2


def test_units_that_flip_together_are_one_crossing():
    network = _one_layer([[1.0, 0], [2, 0], [-1, 0], [0, 1]], [-0.3, -0.6, 0.3, -0.6])
    found = crossings(network, torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]))
    assert found.place.tolist() == pytest.approx([0.3])
    assert found.number.tolist() == [1]
    assert sorted(found.unit.tolist()) == [0, 1, 2, 3]
    halved = bisection(network, torch.zeros(2), torch.tensor([1.0, 2.0]))
    assert halved.patterns.int().tolist() == [[0, 0, 1, 0], [1, 1, 0, 1]]


def test_equal_ends_and_ends_on_a_boundary():
    network = _one_layer([[1.0], [-1.0], [0.0]], [0.0, 0.0, 0.0])
    a, b = torch.tensor([[2.0], [0.0], [0.0], [-1.0]]), torch.tensor([[2.0], [1.0], [0.0], [0.0]])
    found = crossings(network, a, b)
    assert found.number.tolist() == [0, 0, 0, 0]
    assert found.start.int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]]
    for i in (0, 2):
        assert len(bisection(network, a[i], b[i])) == 1


def test_a_touched_boundary_is_no_crossing():
    """z = |x| - 0.5 cut to 0 and more has its units' corner at x = 0, touched from one side only by a third unit."""
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    network[0].weight.data, network[0].bias.data = torch.tensor([[1.0], [-1.0]]).double(), torch.zeros(2).double()
    network[2].weight.data, network[2].bias.data = torch.ones(1, 2).double(), torch.zeros(1).double()
    found = crossings(network, torch.tensor([[-1.0]]), torch.tensor([[1.0]]))
    assert found.patterns(0).int().tolist() == [[0, 1, 1], [1, 0, 1]]


def test_a_long_segment_meets_the_cells_of_the_line():
    network = _network(1, 10, 10, 1)
    cells = traverse(network, (-50.0, 50.0))
    found = crossings(network, torch.tensor([[-50.0]]), torch.tensor([[50.0]]))
    assert int(found.number[0]) + 1 == len(cells)
    assert {p.numpy().tobytes() for p in found.patterns(0)} == {p.numpy().tobytes() for p in cells.patterns}


def test_companions_and_blocks_do_not_matter(monkeypatch):
    network, (a, b) = _network(5, 9, 9, 1), _pairs(12, 5)
    together = crossings(network, a, b)
    monkeypatch.setattr(module, "UNITS_AT_ONCE", 1)
    alone = crossings(network, a, b)
    for name in ("number", "segment", "crossing", "unit", "start"):
        assert (getattr(together, name) == getattr(alone, name)).all()
    torch.testing.assert_close(together.place, alone.place, rtol=0, atol=1e-13)


def test_images_are_flattened():
    network = nn.Sequential(nn.Flatten(), *_network(12, 6, 1))
    a, b = _pairs(4, 12)
    images = crossings(network, a.reshape(4, 3, 2, 2), b.reshape(4, 3, 2, 2))
    assert images.number.tolist() == crossings(network[1:], a, b).number.tolist()
    assert len(bisection(network, a[0].reshape(3, 2, 2), b[0].reshape(3, 2, 2))) == int(images.number[0]) + 1


class _Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.head = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        x = relu(self.stem(x))
        return self.head(relu(x + self.norm(self.inner(x))).mean((2, 3)))


def _deep_networks():
    torch.manual_seed(0)
    pooled = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten()
    )
    yield "pool", nn.Sequential(*pooled, nn.Linear(4, 3))
    yield "overlapping pool", nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    yield "residual", _Residual().eval()


@pytest.mark.parametrize(("name", "network"), _deep_networks())
@pytest.mark.parametrize("values", [1, 1 << 20])
def test_any_piecewise_linear_network_is_cut(name, network, values, monkeypatch):
    monkeypatch.setattr(_deep_segments, "VALUES_AT_ONCE", values)
    network = network.double()
    a, b = torch.rand(2, 3, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = crossings(network, a, b)
    assert (found.number > 0).all()
    for i in range(len(a)):
        ends = torch.cat([torch.zeros(1), found.place[found.segment == i], torch.ones(1)])
        middles = ((ends[1:] + ends[:-1]) / 2)[:, None, None, None]
        assert (activation_pattern(network, a[i] + middles * (b[i] - a[i])) == found.patterns(i)).all()
        grid = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None, None]
        met = {bits.numpy().tobytes() for bits in activation_pattern(network, a[i] + grid * (b[i] - a[i]))}
        assert met <= {bits.numpy().tobytes() for bits in found.patterns(i)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same():
    _, network = next(_deep_networks())
    a, b = torch.rand(2, 3, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    here = crossings(network.double(), a, b)
    there = crossings(network.cuda(), a.cuda(), b.cuda())
    assert here.unit.tolist() == there.unit.tolist()


def test_both_ways_find_the_same(monkeypatch):
    network, (a, b) = _network(5, 9, 9, 9, 1), _pairs(12, 5)
    plain = crossings(network, a, b)
    monkeypatch.setattr(module, "_plain_layers", lambda network, x: None)
    deep = crossings(network, a, b)
    for name in ("number", "segment", "crossing", "unit", "start"):
        assert (getattr(plain, name) == getattr(deep, name)).all()
    torch.testing.assert_close(plain.place, deep.place, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(1, 3), "as many ends as starts"),
        (torch.zeros(3), torch.zeros(3), "as many ends as starts"),
        (torch.zeros(0, 3), torch.zeros(0, 3), "at least one"),
        (torch.zeros(1, 3), torch.full((1, 3), float("nan")), "b holds NaN"),
    ],
)
def test_unpaired_or_infinite_ends_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        crossings(_network(3, 4, 1), a, b)


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="no ReLU"):
        crossings(nn.Linear(3, 1), torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="no ReLU"):
        crossings(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    with pytest.raises(ValueError, match="one shape"):
        bisection(_network(3, 4, 1), torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="between 0 and 1"):
        bisection(_network(3, 4, 1), torch.zeros(3), torch.ones(3), tolerance=0.0)
    with pytest.raises(ValueError, match="module '1' \\(Sigmoid\\)"):
        crossings(nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 1)), torch.zeros(1, 3), torch.ones(1, 3))
