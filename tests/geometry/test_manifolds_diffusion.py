"""Diffusion maps and their conformally invariant kind: against plain formulas, known spectra and what is known of projections."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import nan, pi

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from geometry.manifolds.circle import Circle
from geometry.manifolds.conformally_invariant_diffusion_map import ConformallyInvariantDiffusionMap
from geometry.manifolds.diffusion_maps import DiffusionMaps
from geometry.manifolds.flat_torus import FlatTorus
from geometry.manifolds.local_pca import LocalPCA
from geometry.manifolds.sphere import Sphere

BOTH = pytest.mark.parametrize("kind", [ConformallyInvariantDiffusionMap, DiffusionMaps])


@dataclass(frozen=True)
class Inputs:
    x: Tensor


def _fitted(part, x):
    return part.load(part.fit(Inputs(x)))


def _on(part, number, *, seed=0):
    return part.load({}).sample(number, torch.Generator().manual_seed(seed))


def _ring(angle, radius=1.0):
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def _grid(number):
    return torch.arange(number, dtype=torch.float64) * (2 * pi / number)


def _angle_errors(found, angle):
    difference = torch.atan2(found[:, 1], found[:, 0]) - angle
    return torch.atan2(difference.sin(), difference.cos()).abs()


@pytest.fixture(scope="module")
def circle():
    return _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=20), _on(Circle(), 500))


@pytest.fixture(scope="module")
def printed():
    return _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=20, beyond_nearest=False), _on(Circle(), 500))


@BOTH
def test_agrees_with_the_formulas_written_plainly(kind):
    """Kernel, normalisation and generalised eigenproblem by scipy, in another order of steps."""
    x, k = _on(Sphere(), 150).numpy(), 10
    manifold = _fitted(kind(eigenfunctions=12, neighbors=k), torch.from_numpy(x))
    distances = cdist(x, x)
    near = np.sort(distances, axis=1)[:, :k]
    order = np.argsort(distances, axis=1)[:, 1:k]
    scale = near.mean(1) if kind is ConformallyInvariantDiffusionMap else np.ones(150)
    ratio = distances**2 / np.outer(scale, scale)
    bandwidth = np.mean(np.take_along_axis(ratio, order, 1))
    kernel = np.exp(-ratio / (2 * bandwidth))
    if kind is DiffusionMaps:
        kernel /= np.outer(kernel.sum(1), kernel.sum(1))
    values, vectors = scipy.linalg.eigh(kernel, np.diag(kernel.sum(1)))
    values, vectors = values[::-1][:12], vectors[:, ::-1][:, :12]
    diffusion = manifold.diffusion
    assert diffusion.kernel.bandwidth == pytest.approx(bandwidth, rel=1e-12)
    np.testing.assert_allclose(diffusion.eigenvalues.numpy(), values, atol=1e-12)
    np.testing.assert_allclose(diffusion.laplacian.numpy(), -2 * np.log(np.minimum(values, 1)) / bandwidth, atol=1e-9)
    weights = kernel.sum(1) / kernel.sum()
    smooth = vectors @ (vectors.T @ (kernel.sum(1)[:, None] * x))
    np.testing.assert_allclose(manifold.project(torch.from_numpy(x)).numpy(), smooth, atol=1e-10)
    functions = diffusion.functions.numpy()
    np.testing.assert_allclose(functions.T @ (weights[:, None] * functions), np.eye(12), atol=1e-12)
    np.testing.assert_allclose(functions[:, 0], 1.0, atol=1e-11)


@BOTH
@pytest.mark.parametrize("graph_neighbors", [None, 60])
def test_nystrom_is_exact_at_the_data(kind, graph_neighbors):
    for surface in (Circle(), FlatTorus()):
        x = _on(surface, 700)
        manifold = _fitted(kind(eigenfunctions=30, graph_neighbors=graph_neighbors), x)
        assert float((manifold.encode(x) - manifold.diffusion.functions).abs().max()) < 1e-10
        assert (
            float((manifold.encode(x) @ manifold.diffusion.coordinates + x.mean(0) - manifold.project(x)).abs().max())
            < 1e-10
        )


@BOTH
def test_sparse_kernel_of_all_neighbours_is_the_dense_one(kind):
    x = _on(Sphere(), 300)
    dense = _fitted(kind(eigenfunctions=10), x)
    sparse = _fitted(kind(eigenfunctions=10, graph_neighbors=299), x)
    torch.testing.assert_close(sparse.diffusion.eigenvalues, dense.diffusion.eigenvalues, atol=1e-5, rtol=0)
    torch.testing.assert_close(sparse.project(1.1 * x), dense.project(1.1 * x), atol=1e-4, rtol=0)


def test_spectrum_of_an_even_circle():
    """n^2 twice each; in the metric d^2 / rho^2 of the conformal map times rho^2."""
    x = _ring(_grid(400))
    plain = _fitted(DiffusionMaps(eigenfunctions=9), x).diffusion.laplacian
    known = torch.tensor([0.0, 1, 1, 4, 4, 9, 9, 16, 16], dtype=torch.float64)
    torch.testing.assert_close(plain, known, atol=1e-9, rtol=5e-3)
    conformal = _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=9), x).diffusion
    torch.testing.assert_close(conformal.laplacian / conformal.local_scales[0] ** 2, known, atol=1e-9, rtol=5e-3)


@pytest.mark.parametrize("concentration", [0.0, 0.8, 2.0])
def test_conformal_spectrum_does_not_see_the_density(concentration):
    """In a metric of its own every circle is even: the first two eigenvalues are equal, the third four times them."""
    for seed in range(2):
        angle = torch.from_numpy(np.random.default_rng(seed).vonmises(0, concentration, 1000))
        found = _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=6), _ring(angle)).diffusion.laplacian
        assert float(found[2] / found[1]) < 1.12
        assert 3.6 < float(found[3] / found[1]) < 4.4


@pytest.mark.parametrize(("surface", "dim"), [(Circle(), 1), (Sphere(), 2), (FlatTorus(), 2)], ids=str)
@BOTH
def test_dimension_is_estimated(kind, surface, dim):
    manifold = _fitted(kind(eigenfunctions=20), _on(surface, 1000))
    assert manifold.dim == dim
    assert manifold.dimension_estimate == pytest.approx(dim, abs=0.15)


@pytest.mark.parametrize("radius", [0.3, 0.9, 1.0, 1.1, 1.5, 2.0, 5.0, 100.0])
def test_projection_is_near_the_nearest_point_at_any_distance(circle, radius):
    angle = _grid(200)
    x = _ring(angle, radius)
    found = circle.project(x)
    assert float(_angle_errors(found, angle).max()) < 0.05
    assert float((found.norm(dim=1) - 1).abs().max()) < 0.02
    report = circle.drift(x)
    assert float(report.drift.max()) < 1.5
    torch.testing.assert_close(report.distance, (x - found).norm(dim=1))
    torch.testing.assert_close(report.distance, circle.distance(x))
    assert float(report.nearest.median()) >= abs(radius - 1) / float(circle.diffusion.local_scales.max())


def test_printed_extension_holds_near_the_data_and_says_where_it_does_not(printed):
    angle = _grid(100)
    for radius in (0.9, 1.0, 1.1):
        assert float(_angle_errors(printed.project(_ring(angle, radius)), angle).max()) < 0.05
    medians = [float(printed.drift(_ring(angle, radius)).drift.median()) for radius in (1.0, 2.0, 5.0, 100.0)]
    assert medians == sorted(medians)
    with pytest.warns(UserWarning, match="100 inputs lie so far"):
        found = printed.project(_ring(angle, 100.0))
    assert float(found.std(0).max()) < 1e-3  # all to one place, which is why it is said
    with pytest.warns(UserWarning, match="shorter steps"):
        printed.project(_ring(angle, 5.0))


def test_few_eigenfunctions_cut_through_noise_and_many_follow_it():
    angle = _grid(1000)
    noise = 0.1 * torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = _ring(angle, 1 + noise)
    spread = [
        float(_fitted(ConformallyInvariantDiffusionMap(eigenfunctions=n), x).project(x).norm(dim=1).std())
        for n in (5, 20, 100)
    ]
    assert spread[0] < spread[1] < 0.03 < spread[2]


@pytest.mark.parametrize("graph_neighbors", [None, 40])
@BOTH
def test_projection_has_the_gradient_that_differences_show(kind, graph_neighbors):
    manifold = _fitted(kind(eigenfunctions=15, neighbors=8, graph_neighbors=graph_neighbors), _on(Circle(), 120))
    x = _ring(_grid(5) + 0.01, 1.03).requires_grad_()
    assert torch.autograd.gradcheck(manifold.project, (x,))
    assert torch.autograd.gradcheck(manifold.encode, (x,))
    at_data = manifold.diffusion.kernel.points[:3] + manifold.center
    (gradient,) = torch.autograd.grad(manifold.project(at_data.requires_grad_()).sum(), at_data)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("beyond_nearest", [True, False])
def test_gradient_is_tangent_on_an_even_circle(beyond_nearest):
    """As that of the nearest point, 1 / radius along the tangent; the printed extension's leaks off the circle."""
    part = ConformallyInvariantDiffusionMap(eigenfunctions=20, beyond_nearest=beyond_nearest)
    manifold = _fitted(part, _ring(_grid(500)))
    angle = _grid(9) + 0.001
    for radius, stretch in ((1.0, 1.0), (1.1, 1 / 1.1), (1.5, 1 / 1.5)):
        for one in angle:
            jacobian = torch.autograd.functional.jacobian(lambda x: manifold.project(x)[0], _ring(one[None], radius))[
                :, 0
            ]
            size, right = torch.linalg.svd(jacobian)[1:]
            assert float(size[0]) == pytest.approx(stretch, abs=0.01)
            leak = abs(float(right[0] @ _ring(one[None])[0]))
            assert leak < (0.01 if beyond_nearest or radius == 1.0 else 0.1)


def test_weighted_inner_product_is_the_right_one():
    """Mahler et al. print sum f phi without the degrees, which loses accuracy where the density varies."""
    x = _ring(torch.from_numpy(np.random.default_rng(0).vonmises(0, 2, 500)))
    manifold = _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=20), x)
    functions = manifold.diffusion.functions
    printed = functions @ (functions.T @ x) / functions.square().sum(0).mean()
    error = float((manifold.project(x) - x).norm(dim=1).mean())
    assert error < 0.03
    assert float((printed - x).norm(dim=1).mean()) > 1.3 * error


def _blobs(angle, width):
    """Images (N, 1, 16, 16) of a Gaussian spot of some width in pixels on a ring, at some angle."""
    place = torch.arange(16, dtype=torch.float64) - 7.5
    across, down = (
        place[None, None, :] - 4 * angle.cos()[:, None, None],
        place[None, :, None] - 4 * angle.sin()[:, None, None],
    )
    return (-(across.square() + down.square()) / (2 * width[:, None, None] ** 2)).exp()[:, None]


def test_labels_of_blobs_are_recovered():
    """Angle and width of held-out images, clean and with pixel noise of norm 1.6, which lies off the manifold."""
    angle, width = torch.meshgrid(_grid(60), torch.linspace(1.5, 3.0, 15, dtype=torch.float64), indexing="ij")
    angle, width = angle.flatten(), width.flatten()
    part = ConformallyInvariantDiffusionMap(eigenfunctions=150, neighbors=12)
    manifold = _fitted(part, _blobs(angle, width))
    assert manifold.dim == 2
    labels = manifold.extension(torch.stack([angle.cos(), angle.sin(), width], dim=1))
    random = np.random.default_rng(0)
    held_angle, held_width = (torch.from_numpy(random.uniform(*ends, 100)) for ends in ((0, 2 * pi), (1.6, 2.9)))
    clean = _blobs(held_angle, held_width)
    noisy = clean + 0.1 * torch.from_numpy(random.standard_normal(clean.shape))
    for images, most_degrees, most_width in ((clean, 0.01, 0.02), (noisy, 1.5, 0.05)):
        found = labels(images)
        assert float(_angle_errors(found[:, :2], held_angle).mean()) * 180 / pi < most_degrees
        assert float((found[:, 2] - held_width).abs().mean()) < most_width
        relative = (manifold.project(images) - clean).flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1)
        assert float(relative.mean()) < (0.02 if images is clean else 0.05)


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_carre_du_champ_tangents_withstand_noise_that_misleads_local_planes(noise):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        angle = 2 * pi * torch.rand(500, generator=generator, dtype=torch.float64)
        x = _ring(angle, 1 + noise * torch.randn(500, generator=generator, dtype=torch.float64))
        true = _ring(angle + pi / 2)[:, :, None]
        cosines = [
            (_fitted(part, x).tangent_basis(x).transpose(1, 2) @ true).abs().flatten()
            for part in (ConformallyInvariantDiffusionMap(dim=1), LocalPCA(dim=1))
        ]
        assert float(cosines[0].min()) > 0.98
        assert float(cosines[0].median()) > 0.998
        assert float(cosines[1].min()) < 0.6


@pytest.mark.parametrize("surface", [Circle(), Sphere(), FlatTorus()], ids=str)
def test_carre_du_champ_tangents_of_clean_data(surface):
    x = _on(surface, 1000)
    found = _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=30), x).tangent_basis(x)
    eye = torch.eye(found.shape[2], dtype=torch.float64).expand(1000, -1, -1)
    torch.testing.assert_close(found.transpose(1, 2) @ found, eye)
    cosines = torch.linalg.svdvals(found.transpose(1, 2) @ surface.load({}).tangent_basis(x))[:, -1]
    assert float(cosines.median()) > 0.99
    assert float(cosines.min()) > 0.9


def test_pieces_of_the_data_are_said():
    x = torch.cat([_on(Circle(), 200), _on(Circle(radius=0.5, center=(9.0, 0.0)), 100)])
    with pytest.warns(UserWarning, match="2 components, of 200, 100 points"):
        manifold = _fitted(ConformallyInvariantDiffusionMap(eigenfunctions=20, graph_neighbors=30), x)
    assert manifold.components.unique(return_counts=True)[1].tolist() == [200, 100]
    assert manifold.components[:200].unique().numel() == 1
    assert float(manifold.diffusion.laplacian[1]) < 1e-9 < 0.01 < float(manifold.diffusion.laplacian[2])
    assert float(manifold.distance(x).mean()) < 0.05


@BOTH
def test_images_types_and_companions(kind):
    angle = _grid(60)
    images = _blobs(angle, torch.full_like(angle, 2.0)).float()
    manifold = _fitted(kind(eigenfunctions=15, neighbors=5), images)
    for dtype in (torch.float16, torch.float32, torch.float64):
        given = images.to(dtype)
        assert manifold.project(given).shape == given.shape
        assert (
            manifold.project(given).dtype
            == manifold.encode(given).dtype
            == manifold.tangent_basis(given).dtype
            == dtype
        )
        assert manifold.distance(given).dtype == dtype
        torch.testing.assert_close(
            manifold.project(given).double(), manifold.project(images.double()), atol=5e-3, rtol=0
        )
    torch.testing.assert_close(manifold.decode(manifold.encode(images)), manifold.project(images))
    alone = torch.cat([manifold.project(one) for one in images.split(7)])
    torch.testing.assert_close(alone, manifold.project(images))
    assert manifold.project(images[:0]).shape == images[:0].shape
    assert manifold.tangent_basis(images[:0]).shape == (0, 256, manifold.dim)
    with pytest.raises(ValueError, match=r"of shape \(B, 1, 16, 16\)"):
        manifold.project(images[:, :, :8])
    with pytest.raises(ValueError, match="finite"):
        manifold.project(images * nan)


@BOTH
def test_data_that_cannot_be_fitted_are_refused(kind):
    x = _on(Sphere(), 60)
    part = kind(eigenfunctions=10, neighbors=6)
    for bad, message in (
        (x[:1], "2 points at least"),
        (x[:6], "fewer than neighbors"),
        (torch.full_like(x, nan), "finite"),
        (x.long(), "floating point"),
        (torch.full_like(x, 0.5), "copies"),
        (torch.cat([x, x[:1].expand(7, 3)]), "copies"),
    ):
        with pytest.raises(ValueError, match=message):
            part.fit(Inputs(bad))
    for bad_part, message in (
        (kind(eigenfunctions=60), "fewer than the 60 points"),
        (kind(eigenfunctions=1), "at least 2"),
        (kind(eigenfunctions=58, neighbors=30), "ask for at most"),
        (kind(eigenfunctions=10, dim=4), "between 1 and 3"),
        (kind(eigenfunctions=10, dim=0), "between 1 and 3"),
        (kind(eigenfunctions=10, neighbors=1), "at least 2"),
        (kind(eigenfunctions=10, bandwidth=-1.0), "positive"),
        (kind(eigenfunctions=10, graph_neighbors=10), "graph_neighbors"),
        (kind(eigenfunctions=10, graph_neighbors=60), "graph_neighbors"),
    ):
        with pytest.raises(ValueError, match=message):
            bad_part.fit(Inputs(x))
    manifold = _fitted(part, x)
    for values in (torch.zeros(59, 1), torch.zeros(60), torch.full((60, 1), nan)):
        with pytest.raises(ValueError, match="values"):
            manifold.extension(values)


def test_constant_features_and_some_duplicates_do_not_matter():
    x = _on(Circle(), 300)
    wide = torch.cat([x, torch.full((300, 2), 1e3, dtype=torch.float64)], dim=1)
    part = ConformallyInvariantDiffusionMap(eigenfunctions=15)
    plain, constant = _fitted(part, x), _fitted(part, wide)
    torch.testing.assert_close(constant.project(wide)[:, :2], plain.project(x))
    assert float(constant.tangent_basis(wide)[:, 2:].abs().max()) < 1e-10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doubled = torch.cat([x, x[:100]])
        manifold = _fitted(part, doubled)
    assert float((manifold.encode(doubled) - manifold.diffusion.functions).abs().max()) < 1e-10
    assert manifold.dim == 1


def test_state_is_tensors_and_fits_repeat():
    part = ConformallyInvariantDiffusionMap(eigenfunctions=20)
    x = _on(Sphere(), 900)
    first, second = part.fit(Inputs(x)), part.fit(Inputs(x))
    assert all(isinstance(value, Tensor) for value in first.values())
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)


@BOTH
def test_the_local_scale_is_the_mean_distance_to_the_nearest_points(kind):
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    manifold = _fitted(kind(eigenfunctions=10, neighbors=12, dim=2), points)
    expected = np.sort(cdist(points, points), axis=1)[:, :12].mean(1)
    np.testing.assert_allclose(manifold.scale(points).numpy(), expected, rtol=1e-6)
    assert manifold.scale(points[:4].float()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"of shape \(B, 3\)"):
        manifold.scale(points[:, :2])


def test_far_from_a_curve_the_local_scale_is_that_of_its_foot(circle, printed):
    angle = _grid(7)
    on, off = _ring(angle), _ring(angle, radius=1.3)
    torch.testing.assert_close(circle.scale(off), circle.scale(on), rtol=0.4, atol=0)
    assert bool((printed.scale(off) > 3 * printed.scale(on)).all())
