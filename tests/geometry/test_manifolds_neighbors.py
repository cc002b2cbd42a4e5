"""Distances and neighbours: the two ways agree, rounding is no distance, and fits on a GPU are those on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from geometry.manifolds._dimension import likeliest_dimension
from geometry.manifolds._neighbors import _by_library, _by_products, nearest, squared_distances
from geometry.manifolds.conformally_invariant_diffusion_map import ConformallyInvariantDiffusionMap
from geometry.manifolds.local_pca import LocalPCA
from geometry.manifolds.pca import PCA
from geometry.manifolds.spectral_exterior_calculus import SpectralExteriorCalculus
from geometry.manifolds.sphere import Sphere


@dataclass(frozen=True)
class Inputs:
    x: Tensor


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("features", [3, 40])
def test_library_products_and_scipy_agree(features):
    points, queries = _normal(200, features), _normal(50, features, seed=1)
    every = cdist(queries.numpy(), points.numpy())
    np.testing.assert_allclose(squared_distances(points, queries).numpy(), every**2, atol=1e-12)
    for way in (_by_library, _by_products, nearest):
        distances, indices = way(points, queries, 7)
        np.testing.assert_allclose(distances.numpy(), np.sort(every, axis=1)[:, :7], atol=1e-7)
        np.testing.assert_array_equal(indices.numpy(), np.argsort(every, axis=1)[:, :7])


def test_a_point_is_at_distance_nought_from_itself():
    points = 10 + _normal(100, 500)
    distances, indices = nearest(points, points, 3)
    assert distances[:, 0].tolist() == [0.0] * 100
    assert indices[:, 0].tolist() == list(range(100))
    assert squared_distances(points, points).diagonal().tolist() == [0.0] * 100


def test_numbers_of_neighbours_that_there_are_not():
    for number in (0, 11):
        with pytest.raises(ValueError, match="neighbours were asked for"):
            nearest(_normal(10, 2), _normal(1, 2), number)
    assert nearest(_normal(10, 2), _normal(0, 2), 4)[0].shape == (0, 4)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_dimension_of_uniform_cubes(dimension):
    points = torch.rand(4000, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distances, _ = nearest(points, points, 13)
    assert likeliest_dimension(distances[:, 1:]) == pytest.approx(dimension, rel=0.08)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "part", [PCA(dim=2), LocalPCA(), ConformallyInvariantDiffusionMap(), SpectralExteriorCalculus()], ids=str
)
def test_a_gpu_gives_what_the_cpu_gives(part):
    x = Sphere().load({}).sample(600, torch.Generator().manual_seed(0))
    here, there = part.load(part.fit(Inputs(x))), part.load(part.fit(Inputs(x.cuda())))
    torch.testing.assert_close(there.project(1.1 * x.cuda()).cpu(), here.project(1.1 * x), atol=1e-8, rtol=0)
    torch.testing.assert_close(here.project(1.1 * x.cuda()).cpu(), here.project(1.1 * x), atol=1e-8, rtol=0)
    basis, other = here.tangent_basis(x), there.tangent_basis(x.cuda()).cpu()
    torch.testing.assert_close(other @ other.mT, basis @ basis.mT, atol=1e-6, rtol=0)
