"""Spectral exterior calculus against the Hodge spectra of circle, flat torus and sphere, and tangents of noisy data."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch import Tensor

from geometry.manifolds._hodge import antisymmetric_frame, product_frame, structure_constants
from geometry.manifolds.circle import Circle
from geometry.manifolds.flat_torus import FlatTorus
from geometry.manifolds.local_pca import LocalPCA
from geometry.manifolds.spectral_exterior_calculus import SpectralExteriorCalculus, smoothest_fields
from geometry.manifolds.sphere import Sphere

BOTH_FRAMES = pytest.mark.parametrize("antisymmetric", [True, False])


@dataclass(frozen=True)
class Inputs:
    x: Tensor


@dataclass(frozen=True)
class Known:
    """Eigenfunctions (N, s), their eigenvalues, weights, and points (N, D) of a manifold known in closed form."""

    functions: Tensor
    eigenvalues: Tensor
    weights: Tensor
    points: Tensor


def _waves(angle, highest):
    """Orthonormal functions of an angle up to a frequency, and their eigenvalues."""
    functions, eigenvalues = [torch.ones_like(angle)], [0.0]
    for k in range(1, highest + 1):
        functions += [sqrt(2) * (k * angle).cos(), sqrt(2) * (k * angle).sin()]
        eigenvalues += [float(k * k)] * 2
    return torch.stack(functions, dim=1), torch.tensor(eigenvalues, dtype=torch.float64)


def _circle(functions=21):
    angle = torch.arange(200, dtype=torch.float64) * (2 * pi / 200)
    waves, eigenvalues = _waves(angle, functions // 2)
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    return Known(waves, eigenvalues, torch.full((200,), 1 / 200, dtype=torch.float64), points)


def _torus():
    angle = torch.arange(16, dtype=torch.float64) * (2 * pi / 16)
    first, second = (a.flatten() for a in torch.meshgrid(angle, angle, indexing="ij"))
    (one, lows), (other, highs) = _waves(first, 2), _waves(second, 2)
    functions = (one[:, :, None] * other[:, None, :]).flatten(1)
    eigenvalues, order = (lows[:, None] + highs).flatten().sort(stable=True)
    points = torch.stack([first.cos(), first.sin(), second.cos(), second.sin()], dim=1)
    return Known(functions[:, order], eigenvalues, torch.full((256,), 1 / 256, dtype=torch.float64), points)


def _sphere(highest=4):
    """Real spherical harmonics on a product grid that integrates their products exactly."""
    heights, weights = np.polynomial.legendre.leggauss(12)
    longitude = np.arange(24) * (2 * pi / 24)
    polar, around = (a.ravel() for a in np.meshgrid(np.arccos(heights), longitude, indexing="ij"))
    functions, eigenvalues = [], []
    for degree in range(highest + 1):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, around)
            real = value.real if order == 0 else sqrt(2) * (value.real if order > 0 else value.imag)
            functions.append(real * sqrt(4 * pi))
            eigenvalues.append(float(degree * (degree + 1)))
    points = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1)
    mass = np.repeat(weights / weights.sum(), 24) / 24
    return Known(
        torch.from_numpy(np.stack(functions, axis=1)),
        torch.tensor(eigenvalues, dtype=torch.float64),
        torch.from_numpy(mass),
        torch.from_numpy(points),
    )


def _fields(known, **options):
    return smoothest_fields(known.functions, known.eigenvalues, known.weights, **options)


def _vectors(known, fields):
    number = fields.operators.shape[1]
    first = known.functions[:, :number]
    return fields(first, first.T @ (known.weights[:, None] * known.points))


def _nearest_tangents(name, points):
    return {"circle": Circle, "torus": FlatTorus, "sphere": Sphere}[name]().load({}).tangent_basis(points)


@pytest.mark.parametrize(
    ("name", "known", "spectrum"),
    [
        ("circle", _circle(), [0, 1, 1, 4, 4, 9, 9, 16, 16]),
        ("torus", _torus(), [0] * 2 + [1] * 8 + [2] * 8),
        ("sphere", _sphere(), [2] * 6 + [6] * 10),
    ],
    ids=["circle", "torus", "sphere"],
)
@BOTH_FRAMES
def test_spectra_of_known_manifolds(name, known, spectrum, antisymmetric):
    """The Hodge 1-Laplacian's eigenvalues; every field is tangent and of length 1 in the mean."""
    fields = _fields(known, antisymmetric=antisymmetric)
    expected = torch.tensor(spectrum, dtype=torch.float64)
    torch.testing.assert_close(fields.energies[: len(spectrum)], expected, atol=1e-10, rtol=0)
    vectors = _vectors(known, fields)[:, : len(spectrum)]
    tangents = _nearest_tangents(name, known.points)
    inside = vectors @ tangents @ tangents.transpose(1, 2)
    low = 1 if name == "circle" else 2 if name == "torus" else 6
    assert float((vectors - inside)[:, :low].abs().max()) < 1e-12
    lengths = (vectors[:, :low].square().sum(2) * known.weights[:, None]).sum(0)
    torch.testing.assert_close(lengths, torch.ones(low, dtype=torch.float64))


@BOTH_FRAMES
def test_smoothest_field_of_the_circle_is_its_tangent(antisymmetric):
    known = _circle()
    field = _vectors(known, _fields(known, antisymmetric=antisymmetric))[:, 0]
    tangent = torch.stack([-known.points[:, 1], known.points[:, 0]], dim=1)
    sign = float((field * tangent).sum(1).mean().sign())
    torch.testing.assert_close(sign * field, tangent, atol=1e-12, rtol=0)


@pytest.mark.parametrize("frame", [antisymmetric_frame, product_frame])
def test_energy_is_that_of_curl_and_divergence(frame):
    """Positive, and for the circle int (f_i f_j')' (f_k f_l')' by differentiating on the grid: there is no curl."""
    known = _circle()
    constants = structure_constants(known.functions, known.weights, 5)
    forms = frame(constants, known.eigenvalues)
    for matrix in (forms.gram, forms.energy):
        torch.testing.assert_close(matrix, matrix.T)
        spectrum = torch.linalg.eigvalsh(matrix)
        assert float(spectrum[0]) > -1e-10 * float(spectrum[-1])
    frequency = torch.fft.fftfreq(200, 1 / 200, dtype=torch.float64)

    def derivative(values):
        return torch.fft.ifft(1j * frequency[:, None] * torch.fft.fft(values, dim=0), dim=0).real

    first = known.functions[:, :5]
    fields = first[:, :, None] * derivative(first)[:, None, :]
    if frame is antisymmetric_frame:
        fields = fields - fields.transpose(1, 2)
        i, j = torch.triu_indices(5, 5, 1)
        fields = fields[:, i, j]
    fields = fields.flatten(1)
    torch.testing.assert_close(forms.gram, fields.T @ fields / 200)
    torch.testing.assert_close(forms.energy, derivative(fields).T @ derivative(fields) / 200, atol=1e-9, rtol=1e-9)


def test_too_few_product_functions_show_and_are_dropped():
    """With n = 11 products reach frequency 10: 17 functions give negative energies, 21 are exact."""
    short = antisymmetric_frame(
        structure_constants(_circle(17).functions, _circle(17).weights, 11), _circle(17).eigenvalues
    )
    assert float(torch.linalg.eigvalsh(short.energy)[0]) < -1
    assert float(_fields(_circle(17), frame_functions=11).energies[0]) > -0.5
    assert float(_fields(_circle(21), frame_functions=11).energies[0]) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("concentration", "noise"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.05), (0.0, 0.1)], ids=["even", "uneven", "5 %", "10 %"]
)
def test_tangents_of_density_and_noise(concentration, noise):
    """Five seeds: worst |cos| of at least 0.9 and a median of at least 0.99, where local planes fail at noise."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        angle = torch.from_numpy(random.vonmises(0, concentration, 500))
        radius = 1 + noise * torch.from_numpy(random.standard_normal(500))
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        true = torch.stack([-angle.sin(), angle.cos()], dim=1)[:, :, None]
        part = SpectralExteriorCalculus(dim=1)
        found = part.load(part.fit(Inputs(x))).tangent_basis(x)
        cosines = (found.transpose(1, 2) @ true).abs().flatten()
        assert float(cosines.min()) > 0.9
        assert float(cosines.median()) > 0.99
        if noise == 0.1:
            planes = LocalPCA(dim=1)
            worst = (planes.load(planes.fit(Inputs(x))).tangent_basis(x).transpose(1, 2) @ true).abs().min()
            assert float(worst) < 0.5


@pytest.mark.parametrize("surface", [Sphere(), FlatTorus()], ids=str)
@BOTH_FRAMES
def test_tangents_of_surfaces(surface, antisymmetric):
    """The frame of products needs more product functions than the antisymmetric one: 40 leave it spurious smooth fields."""
    x = surface.load({}).sample(1000, torch.Generator().manual_seed(0))
    number = 40 if antisymmetric else 100
    part = SpectralExteriorCalculus(eigenfunctions=100, product_functions=number, antisymmetric=antisymmetric)
    manifold = part.load(part.fit(Inputs(x)))
    assert manifold.dim == 2
    found = manifold.tangent_basis(x)
    eye = torch.eye(2, dtype=torch.float64).expand(1000, -1, -1)
    torch.testing.assert_close(found.transpose(1, 2) @ found, eye)
    cosines = torch.linalg.svdvals(found.transpose(1, 2) @ surface.load({}).tangent_basis(x))[:, -1]
    assert float(cosines.median()) > 0.95


def test_what_cannot_be_made_is_refused():
    x = Circle().load({}).sample(200, torch.Generator().manual_seed(0))
    for part, message in (
        (SpectralExteriorCalculus(frame_functions=50), "frame_functions <= product_functions"),
        (SpectralExteriorCalculus(product_functions=60), "<= eigenfunctions"),
        (
            SpectralExteriorCalculus(eigenfunctions=20, product_functions=20, neighbors=8, dim=2, fields=1),
            "as many fields",
        ),
        (SpectralExteriorCalculus(eigenfunctions=20, product_functions=20, neighbors=8, fields=500), "500 fields of"),
    ):
        with pytest.raises(ValueError, match=message):
            part.fit(Inputs(x))
    with pytest.raises(ValueError, match="between 2 and"):
        _fields(_circle(), frame_functions=1)


def test_types_and_images():
    angle = torch.arange(300, dtype=torch.float64) * (2 * pi / 300)
    x = torch.stack([angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin()], dim=1).reshape(300, 1, 2, 2)
    part = SpectralExteriorCalculus(neighbors=10)
    manifold = part.load(part.fit(Inputs(x)))
    assert manifold.tangent_basis(x.half()).dtype == torch.float16
    assert manifold.tangent_basis(x[:0]).shape == (0, 4, 1)
    true = torch.stack([-angle.sin(), angle.cos(), -2 * (2 * angle).sin(), 2 * (2 * angle).cos()], dim=1) / sqrt(5)
    cosines = (manifold.tangent_basis(x)[:, :, 0] * true).sum(1).abs()
    assert float(cosines.min()) > 0.999
