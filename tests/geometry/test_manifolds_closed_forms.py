"""Closed forms against dense samples of themselves, finite differences and known integrals."""

from __future__ import annotations

from math import inf, nan, pi

import pytest
import torch

from geometry.manifolds.circle import Circle
from geometry.manifolds.flat_torus import FlatTorus
from geometry.manifolds.plane import Plane
from geometry.manifolds.sphere import Sphere
from geometry.manifolds.strip import Strip
from geometry.manifolds.torus import Torus

PARTS = [
    Circle(),
    Circle(radius=0.25, center=(0.5, 0.4)),
    Sphere(),
    Sphere(radius=2.0, center=(1.0, -1.0, 0.5, 0.0)),
    Torus(),
    Torus(major=2.0, minor=0.5, center=(0.1, 0.2, 0.3)),
    FlatTorus(),
    FlatTorus(radii=(0.5, 2.0), center=(0.1, 0.2, 0.3, 0.4)),
    Plane(),
    Plane(half_width=0.4, center=0.5, height=0.5),
    Strip(),
]
EACH = pytest.mark.parametrize("part", PARTS, ids=str)


def _load(part):
    assert part.fit() == {}
    return part.load({})


def _around(manifold, number=64, *, seed=0, spread=0.15):
    generator = torch.Generator().manual_seed(seed)
    on = manifold.sample(number, generator)
    return on + spread * torch.randn(on.shape, generator=generator, dtype=torch.float64)


@EACH
def test_projection_is_nearest_and_idempotent(part):
    manifold = _load(part)
    x = _around(manifold)
    found = manifold.project(x)
    torch.testing.assert_close(manifold.project(found), found)
    torch.testing.assert_close(manifold.distance(x), (x - found).norm(dim=1))
    assert float(manifold.distance(found).max()) < 1e-14
    many = manifold.sample(20_000, torch.Generator().manual_seed(1))
    nearest = torch.cdist(x, many).min(1).values
    assert bool((manifold.distance(x) <= nearest + 1e-12).all())
    assert float((nearest - manifold.distance(x)).max()) < 0.2


@EACH
def test_tangents_are_orthonormal_and_tangent(part):
    """To first order a step along a tangent stays on the manifold, and the residual of the projection is normal."""
    manifold = _load(part)
    x = manifold.sample(32, torch.Generator().manual_seed(2))
    basis = manifold.tangent_basis(x)
    assert basis.shape == (32, manifold.ambient, manifold.dim)
    eye = torch.eye(manifold.dim, dtype=torch.float64).expand(32, -1, -1)
    torch.testing.assert_close(basis.transpose(1, 2) @ basis, eye)
    step = 1e-5
    for direction in basis.unbind(2):
        inside = manifold.distance(x + step * direction)
        assert float(inside.max()) < 20 * step**2
    off = _around(manifold, spread=0.03)
    residual = off - manifold.project(off)
    if not isinstance(part, Plane | Strip):  # beyond an edge the residual lies in the plane
        leak = (manifold.tangent_basis(off).transpose(1, 2) @ residual[:, :, None]).abs().max()
        assert float(leak) < 1e-14


@EACH
def test_derivative_of_the_projection_has_the_rank_of_the_manifold(part):
    manifold = _load(part)
    x = manifold.sample(4, torch.Generator().manual_seed(3))
    for row, basis in zip(x, manifold.tangent_basis(x), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: manifold.project(one[None])[0], row)
        torch.testing.assert_close(jacobian, basis @ basis.T, atol=1e-12, rtol=0)


@EACH
def test_type_and_shape_are_those_of_the_input(part):
    manifold = _load(part)
    x = _around(manifold, 8)
    for dtype, tolerance in [(torch.float16, 4e-3), (torch.bfloat16, 4e-2), (torch.float32, 1e-5)]:
        found = manifold.project(x.to(dtype))
        assert found.dtype == dtype
        assert manifold.distance(x.to(dtype)).dtype == dtype
        assert manifold.tangent_basis(x.to(dtype)).dtype == dtype
        torch.testing.assert_close(
            found.double(), manifold.project(x.to(dtype).double()), atol=tolerance, rtol=tolerance
        )
    assert manifold.project(x[:0]).shape == x[:0].shape
    assert manifold.tangent_basis(x[:0]).shape == (0, manifold.ambient, manifold.dim)


@EACH
def test_bad_input_is_refused(part):
    manifold = _load(part)
    x = _around(manifold, 4)
    for call in (manifold.project, manifold.distance, manifold.tangent_basis):
        with pytest.raises(ValueError, match="of shape"):
            call(x[:, :-1])
        with pytest.raises(ValueError, match="floating point"):
            call(x.long())
        for bad in (nan, inf):
            with pytest.raises(ValueError, match="finite"):
                call(torch.full_like(x, bad))
    with pytest.raises(ValueError, match="at least 0"):
        manifold.sample(-1, torch.Generator())


@pytest.mark.parametrize(
    "part",
    [
        Circle(radius=0.0),
        Circle(radius=nan),
        Circle(center=(0.0, 0.0, 0.0)),
        Sphere(center=(0.0,)),
        Sphere(radius=inf),
        Torus(major=1.0, minor=1.0),
        FlatTorus(radii=(1.0, -1.0)),
        Plane(half_width=0.0),
        Strip(low=1.0, high=0.0),
        Strip(height=nan),
    ],
    ids=str,
)
def test_what_is_no_manifold_is_refused(part):
    with pytest.raises(ValueError, match=r"must be|has|needed"):
        part.load({})


@pytest.mark.parametrize("part", [Circle(), Sphere(), Torus(), FlatTorus()], ids=str)
def test_centres_go_somewhere_on_the_manifold(part):
    manifold = _load(part)
    center = torch.zeros(1, manifold.ambient, dtype=torch.float64, requires_grad=True)
    found = manifold.project(center)
    assert float(manifold.distance(found.detach())) < 1e-15
    (gradient,) = torch.autograd.grad(found.sum(), center)
    assert bool(gradient.isfinite().all())


def test_distance_zero_has_a_finite_gradient():
    x = torch.tensor([[1.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(_load(Circle()).distance(x).sum(), x)
    assert bool(gradient.isfinite().all())


def test_samples_have_the_density_of_area():
    """Mean of x1^2 on the torus from its integral; of each coordinate's square on the sphere 1 / 3."""
    generator = torch.Generator().manual_seed(4)
    on_sphere = _load(Sphere()).sample(200_000, generator)
    torch.testing.assert_close(
        on_sphere.square().mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=3e-3, rtol=0
    )
    major, minor = 1.0, 0.6
    on_torus = _load(Torus(major=major, minor=minor)).sample(200_000, generator)
    reach = on_torus[:, :2].norm(dim=1)
    assert float(reach.mean()) == pytest.approx(major + minor**2 / (2 * major), abs=4e-3)
    assert float(on_torus[:, 2].square().mean()) == pytest.approx(minor**2 / 2, abs=3e-3)
    angle = torch.atan2(*_load(Circle()).sample(100_000, generator).T.flip(0)) / pi
    assert float(angle.square().mean()) == pytest.approx(1 / 3, abs=4e-3)


def test_torus_distance_agrees_with_its_implicit_equation():
    """Distance is | sqrt((sqrt(x^2 + y^2) - R)^2 + z^2) - r |."""
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = (torch.hypot(torch.hypot(x[:, 0], x[:, 1]) - 1.0, x[:, 2]) - 0.4).abs()
    torch.testing.assert_close(_load(Torus()).distance(x), expected)


def test_samples_repeat_with_the_generator():
    for part in PARTS:
        first, second = (_load(part).sample(5, torch.Generator().manual_seed(6)) for _ in range(2))
        torch.testing.assert_close(first, second, rtol=0, atol=0)
