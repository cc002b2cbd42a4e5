"""What is drawn: the segments, edges and polygons behind the pictures, and that every picture can be made."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from geometry.polyhedra.drawings.cells_2d import cells_2d, distinct_colors
from geometry.polyhedra.drawings.cells_3d import cells_3d
from geometry.polyhedra.drawings.decision_boundary import decision_boundary, decision_segments
from geometry.polyhedra.drawings.dual_points import dual_points
from geometry.polyhedra.drawings.radius_histogram import radius_histogram
from geometry.polyhedra.drawings.surface import surface
from geometry.polyhedra.drawings.training_frames import training_frames
from geometry.polyhedra.drawings.unit_boundaries import edges_of_layers, unit_boundaries
from geometry.polyhedra.local_affine_map import local_affine_map
from geometry.polyhedra.traverse import traverse


def _network(*widths, seed=0):
    torch.manual_seed(seed)
    modules = []
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*modules[:-1]).double()


@pytest.fixture(scope="module")
def network():
    return _network(2, 8, 8, 4)


@pytest.fixture(scope="module")
def cells(network):
    return traverse(network, (-2.0, 2.0))


def _axes(projection=None):
    return Figure().add_subplot(projection=projection)


def test_on_the_decision_boundary_two_classes_are_best(network, cells):
    segments = decision_segments(cells, network)
    share = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)[:, None, None]
    points = (segments[:, 0] + share * (segments[:, 1] - segments[:, 0])).reshape(-1, 2)
    best = network(points).topk(2, dim=1).values
    torch.testing.assert_close(best[:, 0], best[:, 1], rtol=0, atol=1e-12)


def test_the_decision_boundary_is_crossed_wherever_the_class_changes(network, cells):
    """Beside every change of class between neighbours on a grid lies a segment."""
    segments = decision_segments(cells, network)
    line = torch.linspace(-2, 2, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    classes = network(grid).argmax(1).reshape(201, 201)
    changed = (classes[1:] != classes[:-1]).flatten().nonzero().flatten()
    middles = grid.reshape(201, 201, 2)[:-1].reshape(-1, 2)[changed] + torch.tensor([0.01, 0.0])
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    share = ((middles[:, None] - start) * along).sum(2) / along.square().sum(1)
    nearest = start + share.clamp(0, 1)[:, :, None] * along
    assert len(changed) > 50
    assert (nearest - middles[:, None]).norm(dim=2).min(1).values.max() < 0.011


def test_a_single_output_is_decided_at_zero():
    network = _network(2, 6, 1, seed=3)
    segments = decision_segments(
        traverse(network, (-3.0, 3.0)), lambda x: network(x) - network(torch.zeros(1, 2).double())
    )
    ends = segments.reshape(-1, 2)
    assert len(ends)
    torch.testing.assert_close(network(ends), network(torch.zeros(1, 2).double()).expand(len(ends), 1))


def test_edges_belong_to_the_layer_that_changes_first(network, cells):
    first, second = edges_of_layers(cells, [8, 8])
    assert len(first) + len(second) == len(cells.neighbours)
    (linear, _, after, *_) = network
    middle = torch.from_numpy(first).mean(1)
    assert linear(middle).abs().min(1).values.max() < 1e-12
    middle = torch.from_numpy(second).mean(1)
    assert after(linear(middle).relu()).abs().min(1).values.max() < 1e-12
    assert linear(middle).abs().min(1).values.min() > 1e-9


def test_neighbours_have_colours_of_their_own(cells):
    colors = torch.from_numpy(distinct_colors(cells))
    assert (colors[cells.neighbours[:, 0]] != colors[cells.neighbours[:, 1]]).all()
    assert colors.max() < 6


def test_every_picture_can_be_made(network, cells, tmp_path):
    axes = _axes()
    assert len(cells_2d(axes, cells).get_paths()) == len(cells)
    cells_2d(axes, cells, values=network(cells.points)[:, 0])
    decision_boundary(axes, cells, network)
    axes.figure.savefig(tmp_path / "cells.png")
    axes = _axes()
    unit_boundaries(axes, cells, [8, 8])
    axes.figure.savefig(tmp_path / "units.png")
    axes = _axes("3d")
    surface(axes, cells, network, output=1)
    axes.figure.savefig(tmp_path / "surface.png")
    axes = _axes("3d")
    maps = local_affine_map(network, cells.points)
    assert len(dual_points(axes, maps.weight, maps.bias)) == 4
    axes.figure.savefig(tmp_path / "dual.png")
    assert all(Image.open(path).size == (640, 480) for path in tmp_path.iterdir())


def test_cells_in_space_are_solids():
    cells = traverse(_network(3, 5, 1), (-1.0, 1.0))
    axes = _axes("3d")
    assert len(cells_3d(axes, cells)) == len(cells)
    axes.figure.canvas.draw()


def test_a_training_is_a_frame_for_each_state(tmp_path):
    network = _network(2, 4, 1)
    states = []
    for _ in range(3):
        states.append(copy.deepcopy(network))
        network[0].weight.data *= 1.5
    path = tmp_path / "training.gif"
    training_frames(path, states, lambda figure, state: _draw(figure, state), size=1.5)
    with Image.open(path) as image:
        assert (image.n_frames, image.size) == (3, (150, 150))
    with pytest.raises(ValueError, match="keep copies"):
        training_frames(path, [], _draw)


def _draw(figure, network):
    cells_2d(figure.add_subplot(), traverse(network, (-1.0, 1.0)))


def test_infinite_radii_are_stated():
    axes = _axes()
    radius_histogram(axes, {"train": torch.tensor([0.1, 0.2, float("inf")]), "test": torch.tensor([0.3])})
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train (2, 1 infinite)", "test (1)"]
    for radii in (torch.tensor([float("inf")]), torch.tensor([float("nan"), 1.0])):
        with pytest.raises(ValueError, match="at least one of them finite"):
            radius_histogram(axes, {"one": radii})


def test_what_cannot_be_drawn_is_refused(network, cells):
    with pytest.raises(ValueError, match="not bounded"):
        cells_2d(_axes(), traverse(network))
    with pytest.raises(ValueError, match="cells in the plane"):
        cells_2d(_axes(), traverse(_network(3, 4, 1), (-1.0, 1.0)))
    with pytest.raises(ValueError, match="three dimensions"):
        cells_3d(_axes("3d"), cells)
    with pytest.raises(ValueError, match="make 9 units; the cells have 16"):
        edges_of_layers(cells, [9])
    with pytest.raises(ValueError, match=r"weights \(N, K, 2\)"):
        dual_points(_axes("3d"), torch.zeros(3, 2, 5), torch.zeros(3, 2))
