"""The autoencoder's manifold: beside principal components, its Jacobian beside autograd's, and data that cannot be fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import nan

import pytest
import torch
from torch import Tensor

from geometry.manifolds.autoencoder import Autoencoder
from geometry.manifolds.pca import PCA


@dataclass(frozen=True)
class Inputs:
    x: Tensor


def _fit(part, x, seed=0):
    torch.manual_seed(seed)
    return part.fit(Inputs(x))


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _blobs(angle, side=8):
    """Images (N, 1, side, side) of a Gaussian blob, at a third of the side from the middle."""
    middle, place = (side - 1) / 2, torch.arange(side)
    rows, columns = middle + side / 3 * angle.sin(), middle + side / 3 * angle.cos()
    squared = (place[:, None] - rows[:, None, None]) ** 2 + (place - columns[:, None, None]) ** 2
    return (squared / (-2 * (side / 6) ** 2)).exp()[:, None]


@pytest.fixture(scope="module")
def blobs():
    """A manifold of dimension 1 fitted to blobs at 300 angles of half a turn."""
    x = _blobs(torch.linspace(0, 3.14, 300))
    part = Autoencoder(dim=1, width=32, batch_size=32)
    state = _fit(part, x)
    return part, state, x


@pytest.mark.parametrize("shape", [(20,), (1, 8, 8)])
def test_data_of_a_subspace_have_the_tangents_of_principal_components(shape):
    features = torch.Size(shape).numel()
    flat = _normal(200, 3) @ _normal(3, features, seed=1) + 0.5
    x = flat.reshape(-1, *shape)
    part = Autoencoder(dim=3, batch_size=32)
    manifold, linear = part.load(_fit(part, x)), PCA(3).load(PCA(3).fit(Inputs(x)))
    cosines = torch.linalg.svdvals(manifold.tangent_basis(x[:50]).mT @ linear.tangent_basis(x[:50]))
    assert float(cosines.min()) > 0.999
    assert float(manifold.distance(x).mean()) < 0.01 * float(flat.std() * features**0.5)


@pytest.mark.parametrize("shape", [(12,), (3, 9, 7), (1, 16, 16), (2, 3, 3)])
def test_the_jacobian_is_that_of_reverse_differentiation(shape):
    part = replace(Autoencoder(dim=4, width=4), batch_size=20)
    x = _normal(60, *shape)
    manifold = part.load(_fit(part, x))
    z = _normal(5, 4)
    expected = torch.stack([torch.func.jacrev(lambda one: manifold.decode(one[None]).flatten())(code) for code in z])
    torch.testing.assert_close(manifold.jacobian(z), expected, atol=1e-5, rtol=1e-4)
    found, span = manifold.tangent_basis(x[:5]), manifold.jacobian(manifold.encode(x[:5]))
    torch.testing.assert_close(found @ (found.mT @ span), span, atol=1e-4, rtol=1e-3)


def test_refinement_never_leads_farther_and_ends_where_the_error_is_normal(blobs):
    part, state, x = blobs
    given = x[::5] + 0.2 * _normal(60, 1, 8, 8)
    distances = [replace(part, refinements=steps).load(state).distance(given) for steps in range(6)]
    assert all(bool((after <= before).all()) for before, after in pairwise(distances))
    manifold = replace(part, refinements=10).load(state)
    offset = (given - manifold.project(given)).flatten(1)
    tangent = (manifold.tangent_basis(given).mT @ offset[..., None]).flatten(1).norm(dim=1)
    assert float((tangent / offset.norm(dim=1)).median()) < 1e-3


def test_one_curve_of_images_is_followed_where_a_line_cannot(blobs):
    part, state, x = blobs
    manifold, linear = part.load(state), PCA(1).load(PCA(1).fit(Inputs(x)))
    middle = torch.linspace(0.2, 2.9, 40)
    assert float(manifold.distance(_blobs(middle)).mean()) < 0.15 * float(linear.distance(_blobs(middle)).mean())
    moved = (_blobs(middle + 1e-3) - _blobs(middle - 1e-3)).flatten(1)
    cosine = (manifold.tangent_basis(_blobs(middle))[..., 0] * moved).sum(1).abs() / moved.norm(dim=1)
    assert float(cosine.median()) > 0.97


def test_gradients_pass_through_encoder_and_decoder(blobs):
    part, state, x = blobs
    manifold = part.load(state)
    given = x[:4].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(manifold.project(given).sum(), given)
    assert bool(gradient.isfinite().all())
    assert float(gradient.abs().amax()) > 0


def test_the_state_is_plain_and_gives_the_same_manifold_again(blobs):
    part, state, x = blobs
    assert all(isinstance(value, Tensor) and not value.requires_grad for value in state.values())
    again = _fit(part, x)
    torch.testing.assert_close(again, state, rtol=0, atol=0)
    first, before = part.load(state), torch.random.get_rng_state()
    second = part.load({name: value.clone() for name, value in state.items()})
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.project(x), second.project(x))
    torch.testing.assert_close(first.decode(first.encode(x[:9])), first.project(x[:9]))
    torch.testing.assert_close(first.project(x[:9]), first.project(x)[:9], atol=1e-5, rtol=1e-5)


def test_types_come_back_as_they_went_in_and_other_shapes_are_refused(blobs):
    part, state, x = blobs
    manifold = part.load(state)
    for dtype in (torch.float16, torch.float32, torch.float64):
        given = x[:3].to(dtype)
        for found in (manifold.project(given), manifold.distance(given), manifold.tangent_basis(given)):
            assert found.dtype == dtype
    assert manifold.project(x[:0]).shape == x[:0].shape
    assert manifold.tangent_basis(x[:0]).shape == (0, 64, 1)
    with pytest.raises(ValueError, match=r"of shape \(B, 1, 8, 8\)"):
        manifold.project(x.flatten(1))
    with pytest.raises(ValueError, match="nan or infinite"):
        manifold.encode(torch.full((2, 1, 8, 8), nan))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (_normal(1, 30), "2 points at least"),
        (torch.ones(40, 30), "all 40 points are the same"),
        (torch.full((40, 30), nan), "nan or infinite"),
        (_normal(10, 30), "dim must be between 1 and 9"),
        (_normal(40, 5), "dim must be between 1 and 5"),
    ],
)
def test_data_that_cannot_be_fitted(x, message):
    with pytest.raises(ValueError, match=message):
        _fit(Autoencoder(), x)


def test_bad_parameters_and_a_diverging_loss_are_told():
    with pytest.raises(ValueError, match="epochs must be a positive finite number, not 0"):
        Autoencoder(epochs=0)
    with pytest.raises(ValueError, match="refinements must be at least 0, not -1"):
        Autoencoder(refinements=-1)
    with pytest.raises(ValueError, match="lower learning_rate"):
        _fit(Autoencoder(dim=2, learning_rate=1e20, batch_size=20), _normal(40, 5))
