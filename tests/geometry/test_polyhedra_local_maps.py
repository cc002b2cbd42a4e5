"""Local affine maps as points: known networks, k-means of scikit-learn, least squares of scipy, networks that are equal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.cluster import KMeans
from torch import nn

from geometry.polyhedra._k_means import _starts, k_means
from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.local_maps import (
    bias_only_null,
    gradient_images,
    map_clusters,
    map_outputs,
    map_rows,
    mean_row_null,
    row_maps,
    shuffled_rows,
)


def dense(seed=0, widths=(6, 9, 7, 3)):
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    modules = [module for layer in layers for module in (layer, nn.ReLU())][:-1]
    return nn.Sequential(nn.Flatten(), *modules).double()


def convolutional(seed=0):
    torch.manual_seed(seed)
    body = (nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4, 3)).double().eval()


def inputs(number=400, shape=(6,), seed=1):
    return torch.randn(number, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def the_paper_s_xor():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    values = ([[1.0, 1.0], [1.0, 1.0]], [1.0, 0.0], [[2.0, -4.0]], [-1.0])
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float64)
    return network


def test_xor_has_the_maps_of_equation_3():
    x = torch.tensor([[1.0, 1.0], [-0.4, -0.2], [-1.0, -1.0]])
    expected = [[[-2.0, -2.0, 1.0]], [[2.0, 2.0, 1.0]], [[0.0, 0.0, -1.0]]]
    torch.testing.assert_close(map_rows(the_paper_s_xor(), x), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("network", "shape"), [(dense(), (6,)), (convolutional(), (1, 7, 7))])
def test_rows_give_the_network_and_its_gradients(network, shape):
    x = inputs(20, shape)
    rows = map_rows(network, x)
    torch.testing.assert_close(map_outputs(rows, x), network(x).detach(), rtol=0, atol=1e-12)
    images = gradient_images(network, x)
    assert images.shape == (20, 3, *shape)
    step = 1e-7 * inputs(20, shape, seed=2)
    finite = network(x + step) - network(x)
    along = (images * step[:, None]).flatten(2).sum(2)
    torch.testing.assert_close(finite.detach(), along, rtol=0, atol=1e-13)


def test_rows_are_the_same_block_by_block_and_in_less_precision():
    x = inputs(600)
    rows = map_rows(dense(), x)
    torch.testing.assert_close(rows[300:301], map_rows(dense(), x[300:301]))
    assert map_rows(dense(), x, dtype=torch.float32).dtype == torch.float32


def test_hidden_units_permuted_and_rescaled_have_the_same_rows():
    network, other = dense(), dense()
    order, scale = torch.randperm(9), torch.rand(9, dtype=torch.float64) + 0.5
    other[1].weight.data = other[1].weight.data[order] * scale[:, None]
    other[1].bias.data = other[1].bias.data[order] * scale
    other[3].weight.data = other[3].weight.data[:, order] / scale
    x = inputs(50)
    torch.testing.assert_close(map_rows(network, x), map_rows(other, x))


def test_one_cluster_is_the_mean_row():
    x = inputs()
    rows = map_rows(dense(), x)
    clusters = map_clusters(rows, 1)
    torch.testing.assert_close(torch.cat(clusters.centers), rows.mean(0))
    torch.testing.assert_close(clusters(rows, x), map_outputs(rows.mean(0).expand_as(rows), x))


def test_as_many_clusters_as_maps_lose_nothing():
    network, x = dense(), inputs()
    rows = map_rows(network, x)
    distinct = len(torch.unique(activation_pattern(network, x), dim=0))
    assert distinct < len(x)
    clusters = map_clusters(rows, distinct + 10)
    assert all(len(centers) <= distinct for centers in clusters.centers)
    torch.testing.assert_close(clusters(rows, x), network(x).detach(), rtol=0, atol=1e-6)
    assert float(clusters.distances(rows).max()) < 1e-6


def test_a_linear_network_is_one_map():
    x = inputs()
    network = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)).double()
    rows = map_rows(network, x)
    assert all(len(centers) == 1 for centers in map_clusters(rows, 5).centers)
    torch.testing.assert_close(map_clusters(rows, 1)(rows, x), network(x).detach())


def test_clusters_are_those_of_scikit_learn_from_the_same_starts():
    rows = inputs(500, (5,))
    starts = _starts(rows, 8, torch.Generator().manual_seed(3))
    ours = k_means(rows, 8, generator=torch.Generator().manual_seed(3), iterations=300)
    theirs = KMeans(8, init=starts.numpy(), n_init=1, tol=0, max_iter=300).fit(rows.numpy())
    np.testing.assert_allclose(ours.numpy(), theirs.cluster_centers_, atol=1e-10)


def test_clusters_repeat_and_get_nearer_as_they_get_more():
    rows = map_rows(dense(), inputs())
    few, many = map_clusters(rows, 3), map_clusters(rows, 30)
    assert float(many.distances(rows).mean()) < float(few.distances(rows).mean())
    again = map_clusters(rows, 3)
    assert all(torch.equal(a, b) for a, b in zip(few.centers, again.centers, strict=True))


def test_a_network_is_mapped_to_itself_exactly():
    x = inputs()
    rows = map_rows(dense(), x)
    maps = row_maps(rows, rows)
    torch.testing.assert_close(maps(rows), rows, rtol=0, atol=1e-9)
    outside = map_rows(dense(), inputs(50, seed=4))
    torch.testing.assert_close(maps(outside), outside, rtol=0, atol=1e-9)


@pytest.mark.parametrize("number", [400, 5])
def test_maps_are_the_least_squares_of_least_norm(number):
    x = inputs(number)
    source, target = map_rows(dense(0, (6, 4, 3)), x), map_rows(dense(1), x)
    source[..., 2] = 0  # a pixel that never changes
    found = row_maps(source, target).matrix
    for j in range(3):
        oracle, _, rank, _ = scipy.linalg.lstsq(source[:, j].numpy(), target[:, j].numpy(), cond=1e-6)
        assert rank < 7
        np.testing.assert_allclose(found[j].numpy(), oracle, atol=1e-8)


def test_targets_side_by_side_are_mapped_as_alone_with_or_without_the_bias_coordinate():
    x = inputs()
    source, one, two = (map_rows(dense(seed), x)[..., :-1] for seed in range(3))
    both = row_maps(source, torch.cat([one, two], 2)).matrix
    assert both.shape == (3, 6, 12)
    torch.testing.assert_close(both[..., 6:], row_maps(source, two).matrix)


def _error(maps, source, target):
    return float((maps(source) - target).square().sum())


def test_nulls_are_what_they_say_and_worse_than_the_map():
    x = inputs(800)
    source, target = map_rows(dense(0), x), map_rows(dense(1), x)
    mean, bias = mean_row_null(source, target), bias_only_null(source, target)
    torch.testing.assert_close(mean(source)[17], target.mean(0))
    design = torch.stack([source[:, 1, -1], torch.ones(800, dtype=torch.float64)], 1)
    fitted = design @ torch.linalg.lstsq(design, target[:, 1]).solution
    torch.testing.assert_close(bias(source)[:, 1], fitted, rtol=0, atol=1e-9)
    best = _error(row_maps(source, target), source, target)
    shuffled = _error(row_maps(source, shuffled_rows(target)), source, target)
    assert best < _error(bias, source, target) < _error(mean, source, target)
    assert best < shuffled
    assert shuffled == pytest.approx(_error(mean, source, target), rel=0.1)


def test_bad_input_is_named():
    rows = map_rows(dense(), inputs(10))
    with pytest.raises(ValueError, match="between 1 and the number of rows, 10, not 11"):
        map_clusters(rows, 11)
    with pytest.raises(ValueError, match=r"rows \(N, K, d \+ 1\)"):
        map_clusters(rows[:, 0], 2)
    with pytest.raises(ValueError, match="same inputs and outputs"):
        row_maps(rows, rows[:5])
    with pytest.raises(ValueError, match="NaN or infinite"):
        row_maps(rows, torch.full_like(rows, torch.nan))
    with pytest.raises(ValueError, match="'1' \\(Sigmoid\\)"):
        map_rows(nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()), inputs(2))
    with pytest.raises(ValueError, match="batch-norm"):
        map_rows(convolutional().train(), inputs(2, (1, 7, 7)))
