"""Principal components against scikit-learn, local ones against closed forms, and data that cannot be fitted."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import pytest
import torch
from sklearn import decomposition
from torch import Tensor

from geometry.manifolds.circle import Circle
from geometry.manifolds.flat_torus import FlatTorus
from geometry.manifolds.local_pca import LocalPCA
from geometry.manifolds.pca import PCA
from geometry.manifolds.sphere import Sphere


@dataclass(frozen=True)
class Inputs:
    x: Tensor


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _fitted(part, x):
    return part.load(part.fit(Inputs(x)))


def _on(part, number, *, seed=0):
    return part.load({}).sample(number, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("number", "features"), [(200, 7), (12, 30)])
def test_components_agree_with_sklearn(number, features):
    x = _normal(number, features) @ _normal(features, features, seed=1) + 3.0
    manifold = _fitted(PCA(dim=4), x)
    oracle = decomposition.PCA(4, svd_solver="full").fit(x.numpy())
    expected = oracle.inverse_transform(oracle.transform(x.numpy()))
    np.testing.assert_allclose(manifold.project(x).numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(manifold.distance(x).numpy(), np.linalg.norm(x.numpy() - expected, axis=1), atol=1e-9)
    basis = manifold.tangent_basis(x)[0]
    np.testing.assert_allclose((basis @ basis.T).numpy(), oracle.components_.T @ oracle.components_, atol=1e-10)
    torch.testing.assert_close(manifold.decode(manifold.encode(x)), manifold.project(x))
    torch.testing.assert_close(manifold.project(manifold.project(x)), manifold.project(x))


def test_dimension_is_the_rank_of_clean_data_and_the_share_of_noisy_data():
    x = _normal(100, 3) @ _normal(3, 20, seed=1)
    assert _fitted(PCA(explained=1.0), x).dim == 3
    noisy = x + 1e-3 * _normal(100, 20, seed=2)
    assert _fitted(PCA(explained=0.999), noisy).dim == 3


def test_images_and_types_come_back_as_they_went_in():
    x = _normal(50, 2, 4, 3).float()
    for manifold in (_fitted(PCA(dim=5), x), _fitted(LocalPCA(neighbors=10, dim=2), x)):
        for dtype in (torch.float16, torch.float32, torch.float64):
            given = x[:6].to(dtype)
            assert manifold.project(given).shape == given.shape
            assert manifold.project(given).dtype == manifold.tangent_basis(given).dtype == dtype
            assert manifold.distance(given).dtype == dtype
        assert manifold.tangent_basis(x[:6]).shape == (6, 24, manifold.dim)
        assert manifold.project(x[:0]).shape == x[:0].shape
        with pytest.raises(ValueError, match=r"of shape \(B, 2, 4, 3\)"):
            manifold.project(x.flatten(1))


@pytest.mark.parametrize(("surface", "dim"), [(Circle(), 1), (Sphere(), 2), (FlatTorus(), 2)], ids=str)
def test_local_planes_find_dimension_and_tangents_of_clean_data(surface, dim):
    x = _on(surface, 1500)
    manifold = _fitted(LocalPCA(neighbors=15), x)
    assert manifold.dim == dim
    found, true = manifold.tangent_basis(x[:100]), surface.load({}).tangent_basis(x[:100])
    cosines = torch.linalg.svdvals(found.transpose(1, 2) @ true)[:, -1]
    assert float(cosines.median()) > 0.99
    eye = torch.eye(dim, dtype=torch.float64).expand(100, -1, -1)
    torch.testing.assert_close(found.transpose(1, 2) @ found, eye)
    off = x[:100] + 0.05 * _normal(100, x.shape[1])
    error = surface.load({}).distance(manifold.project(off))
    assert float(error.max()) < 0.05
    assert float(error.median()) < 0.5 * float(surface.load({}).distance(off).median())
    again = manifold.project(manifold.project(off)) - manifold.project(off)
    assert float(again.norm(dim=1).median()) < 0.01


def test_local_projection_has_the_gradient_of_its_plane():
    manifold = _fitted(LocalPCA(neighbors=8), _on(Circle(), 200))
    x = torch.tensor([[1.1, 0.3]], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda one: manifold.project(one)[0], x)[:, 0]
    basis = manifold.tangent_basis(x)[0]
    torch.testing.assert_close(jacobian, basis @ basis.T)


def test_answers_do_not_depend_on_companions():
    x = _on(Sphere(), 300)
    manifold = _fitted(LocalPCA(), x)
    whole = manifold.project(x * 1.1)
    torch.testing.assert_close(torch.cat([manifold.project(one * 1.1) for one in x.split(7)]), whole)


@pytest.mark.parametrize("part", [PCA(), LocalPCA(neighbors=3)], ids=str)
def test_points_that_cannot_be_fitted_are_refused(part):
    x = _normal(20, 5)
    with pytest.raises(ValueError, match="2 points at least"):
        part.fit(Inputs(x[:1]))
    with pytest.raises(ValueError, match="finite"):
        part.fit(Inputs(torch.full_like(x, nan)))
    with pytest.raises(ValueError, match="floating point"):
        part.fit(Inputs(x.long()))
    with pytest.raises(ValueError, match=r"the same|copies"):
        part.fit(Inputs(torch.full_like(x, 0.3)))


def test_dimensions_beyond_the_data_are_refused():
    with pytest.raises(ValueError, match="between 1 and 4"):
        PCA(dim=5).fit(Inputs(_normal(5, 30)))
    with pytest.raises(ValueError, match="between 1 and 2"):
        LocalPCA(neighbors=3, dim=3).fit(Inputs(_normal(50, 30)))
    with pytest.raises(ValueError, match="between 1 and 3"):
        LocalPCA(neighbors=10, dim=0).fit(Inputs(_normal(50, 3)))
    with pytest.raises(ValueError, match="fewer than neighbors"):
        LocalPCA(neighbors=20).fit(Inputs(_normal(20, 3)))
    with pytest.raises(ValueError, match="share"):
        PCA(explained=0.0).fit(Inputs(_normal(5, 3)))


def test_constant_features_and_some_duplicates_do_not_matter():
    x = _on(Circle(), 200)
    wide = torch.cat([x, torch.full((200, 2), 5.0, dtype=torch.float64)], dim=1)
    doubled = torch.cat([wide, wide[:50]])
    manifold = _fitted(LocalPCA(neighbors=10), doubled)
    assert manifold.dim == 1
    basis = manifold.tangent_basis(wide)
    assert float(basis[:, 2:].abs().max()) < 1e-12
    assert _fitted(PCA(explained=1.0), doubled).dim == 2
