"""Figures 1 to 3 of Mahler et al. 2024 in numbers: extension, projection and tangents on circles."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geometry.manifolds._diffusion import Diffusion, DiffusionManifold
from geometry.manifolds.carre_du_champ import carre_du_champ_tangents
from geometry.manifolds.conformally_invariant_diffusion_map import ConformallyInvariantDiffusionMap
from geometry.manifolds.diffusion_maps import DiffusionMaps
from geometry.manifolds.local_pca import LocalPCA
from geometry.manifolds.spectral_exterior_calculus import SpectralExteriorCalculus, VectorFields
from harness.progress import steps

Row = dict[str, Any]
Function = Callable[[Tensor], Tensor]

RADII = (0.5, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 5.0, 10.0, 100.0)
CONCENTRATIONS = {"uniform": 0.0, "von Mises 0.8": 0.8, "von Mises 2": 2.0}
NOISE = 0.1  # of the radius, in Figures 1 and 2
RESOLUTION = 20  # eigenfunctions in Figures 1 and 2
_NEIGHBORS = 20
_NEIGHBORS_OF_FIELDS = 60  # in Figure 3, as many as the largest of the local PCAs
_WIDTH = 64  # of the network in Figure 1
_UPDATES = 2000
_DIRECTIONS = 720  # at which a radius is looked at


@dataclass(frozen=True, eq=False)
class Points:
    """Points x (N, D) near a circle, the angle of each (N,) and the circle's unit tangents there (N, D)."""

    x: Tensor
    angle: Tensor
    tangent: Tensor


def circle(number: int, *, noise: float = 0.0, concentration: float = 0.0, seed: int = 0) -> Points:
    """Independent points at von Mises angles, the radius disturbed."""
    random = np.random.default_rng(seed)
    angle = torch.from_numpy(random.vonmises(0.0, concentration, number))
    radius = 1 + noise * torch.from_numpy(random.standard_normal(number))
    return Points(ring(angle, radius), angle, ring(angle + pi / 2))


def uneven_circle(number: int, *, flat: bool, seed: int) -> Points:
    """Figure 3: dense and clean at angle 0, sparse and noisy opposite, in the plane or isometric in four dimensions."""
    random = np.random.default_rng(seed)
    angle = torch.from_numpy(random.vonmises(0.0, 0.5, number))
    disturbed = (0.2 if flat else 0.05) * (1 - angle.cos()) / 2
    if flat:
        radius = 1 + disturbed * torch.from_numpy(random.standard_normal(number))
        return Points(ring(angle, radius), angle, ring(angle + pi / 2))
    noise = disturbed[:, None] * torch.from_numpy(random.standard_normal((number, 4)))
    x = torch.cat([ring(angle), ring(2 * angle)], dim=1) / sqrt(5)
    tangent = torch.cat([ring(angle + pi / 2), 2 * ring(2 * angle + pi / 2)], dim=1) / sqrt(5)
    return Points(x + noise, angle, tangent)


def ring(angle: Tensor, radius: Tensor | float = 1.0) -> Tensor:
    """Points (N, 2) at angles and radii."""
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def colored(angle: Tensor) -> Tensor:
    """The function to be learnt in Figure 1, of the angle: between -1.3 and 1.3."""
    return angle.sin() + 0.5 * (2 * angle).cos()


def figure_1(number: int) -> Iterator[Row]:
    """Mean error against the value at the nearest point of the circle, by radius, for four ways to extend a function."""
    data = circle(number, noise=NOISE)
    angle = around()
    for name, function in extensions(data).items():
        row: Row = {"extension": name}
        for radius in RADII:
            error = (function(ring(angle, radius)) - colored(angle)).abs()
            row[f"{radius:g}"] = float(error.mean())
        yield row


def extensions(data: Points) -> dict[str, Function]:
    """The function of Figure 1 learnt from the points, as a function on the plane: (B, 2) -> (B,)."""
    values = colored(data.angle)
    kinds: dict[str, Any] = {
        "diffusion map": DiffusionMaps(RESOLUTION, _NEIGHBORS, 1),
        "CIDM, printed": ConformallyInvariantDiffusionMap(RESOLUTION, _NEIGHBORS, 1, beyond_nearest=False),
        "CIDM, ours": ConformallyInvariantDiffusionMap(RESOLUTION, _NEIGHBORS, 1),
    }
    found: dict[str, Function] = {"network": _network(data.x, values)}
    for name, kind in kinds.items():
        extended = fitted(kind, data.x).extension(values[:, None])
        found[name] = lambda x, extended=extended: extended(x)[:, 0]  # type: ignore[misc]
    return found


def undefined_from(number: int) -> float:
    """The radius from which each weight exp(-d^2 / (2 bandwidth)) of the fixed kernel is 0 in double precision."""
    kernel = fitted(DiffusionMaps(RESOLUTION, _NEIGHBORS, 1), circle(number, noise=NOISE).x).diffusion.kernel
    smallest = -np.log(np.nextafter(0, 1))
    return 1 + sqrt(2 * kernel.bandwidth * smallest)


def figure_2(number: int) -> Iterator[Row]:
    """Projections of the points at a radius: largest angle error, mean distance to the circle; printed kernel and ours."""
    angle = around()
    for kernel, beyond in (("printed", False), ("ours", True)):
        for density, concentration in CONCENTRATIONS.items():
            manifold = nystrom(circle(number, concentration=concentration).x, beyond_nearest=beyond)
            errors: Row = {"kernel": kernel, "density": density, "score": "angle, largest"}
            distances: Row = {"kernel": kernel, "density": density, "score": "distance, mean"}
            for radius in RADII:
                found = projected(manifold, ring(angle, radius))
                errors[f"{radius:g}"] = float(_angle_between(found, ring(angle)).max())
                distances[f"{radius:g}"] = float((found.norm(dim=1) - 1).abs().mean())
            yield errors
            yield distances


def noise_left(number: int) -> Iterator[Row]:
    """Deviation of the radius of noisy points after one, two and three projections, by resolution."""
    x = circle(number, noise=NOISE).x
    for resolution in (5, RESOLUTION, 100):
        manifold = nystrom(x, beyond_nearest=False, eigenfunctions=resolution)
        row: Row = {"eigenfunctions": resolution, "before": float(x.norm(dim=1).std())}
        found = x
        for times in (1, 2, 3):
            found = projected(manifold, found)
            row[f"after {times}"] = float(found.norm(dim=1).std())
        yield row


def inner_products(number: int) -> Iterator[Row]:
    """Mean error of the projection at the data, by the inner product that the coefficients are taken in."""
    for density, concentration in CONCENTRATIONS.items():
        x = circle(number, concentration=concentration).x
        manifold = nystrom(x, beyond_nearest=False)
        diffusion = manifold.diffusion
        printed = diffusion.functions / _total(diffusion).sqrt()  # D^-1/2 v, v of length one
        unit = diffusion.functions / diffusion.functions.norm(dim=0)
        ways = {
            "D-weighted": diffusion.functions @ diffusion.coefficients(x),
            "printed": printed @ (printed.T @ x),
            "unit length": unit @ (unit.T @ x),
        }
        errors = {name: float((found - x).norm(dim=1).mean()) for name, found in ways.items()}
        yield {"density": density} | errors


def _total(diffusion: Diffusion) -> Tensor:
    """The sum of the kernel over all pairs of points."""
    kernel = diffusion.kernel
    assert kernel.scales is not None, "the bandwidth is variable"
    squared = torch.cdist(kernel.points, kernel.points).square() / (kernel.scales[:, None] * kernel.scales)
    return (-squared / (2 * kernel.bandwidth)).exp().sum()


def figure_3(number: int, seeds: int) -> Iterator[Row]:
    """Worst and median |cos| of tangents with the circle's, over the points: the median of the seeds, and the worst of them."""
    for space, sizes in (("plane", (20, 40, 60)), ("four dimensions", (10, 20, 30, 60))):
        found: dict[str, list[Tensor]] = {}
        for seed in steps(range(seeds), f"tangents in the {space}"):
            data = uneven_circle(number, flat=space == "plane", seed=seed)
            for name, vectors in tangents(data.x, sizes).items():
                cosine = (vectors * data.tangent).sum(1).abs() / vectors.norm(dim=1).clamp_min(1e-12)
                found.setdefault(name, []).append(cosine)
        for name, cosines in found.items():
            worst = torch.stack([cosine.min() for cosine in cosines])
            median = torch.stack([cosine.median() for cosine in cosines])
            tenth = torch.stack([cosine.quantile(0.1) for cosine in cosines])
            yield {
                "space": space,
                "tangent": name,
                "median": float(median.median()),
                "tenth": float(tenth.median()),
                "worst": float(worst.median()),
                "worst of all seeds": float(worst.min()),
            }


def tangents(x: Tensor, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """Tangents (N, D) at the points: the smoothest field, by the carre du champ, by SVD over three fields, by local PCA."""
    kind = SpectralExteriorCalculus(neighbors=_NEIGHBORS_OF_FIELDS, dim=1)
    state = kind.fit(Points(x, x, x))
    manifold = kind.load(state)
    diffusion, given = manifold.diffusion, x - manifold.center
    fields, number = VectorFields(state["energies"], state["operators"]), state["operators"].shape[1]
    vectors = fields(diffusion.functions[:, :number], diffusion.coordinates[:number])
    found = {
        "first SEC field": vectors[:, 0],
        "SVD of 3 SEC fields": manifold.tangent_basis(x)[:, :, 0],
        "carre du champ": carre_du_champ_tangents(diffusion, given, 1)[:, :, 0],
    }
    for size in sizes:
        local = LocalPCA(size, 1)
        found[f"local PCA, k = {size}"] = local.load(local.fit(Points(x, x, x))).tangent_basis(x)[:, :, 0]
    return found


def fitted(kind: Any, x: Tensor) -> DiffusionManifold:
    """A kind of manifold fitted to points."""
    manifold: DiffusionManifold = kind.load(kind.fit(Points(x, x, x)))
    return manifold


def nystrom(x: Tensor, *, beyond_nearest: bool, eigenfunctions: int = RESOLUTION) -> DiffusionManifold:
    """The manifold of Figure 2."""
    return fitted(
        ConformallyInvariantDiffusionMap(eigenfunctions, _NEIGHBORS, 1, beyond_nearest=beyond_nearest),
        x,
    )


@contextmanager
def far_on_purpose() -> Iterator[None]:
    """Says nothing of inputs that lie far from the data: where projections end then is what is asked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lie so far from the data")
        yield


def projected(manifold: DiffusionManifold, x: Tensor) -> Tensor:
    """Projections of inputs that may lie far outside."""
    with far_on_purpose():
        return manifold.project(x)


def around(number: int = _DIRECTIONS) -> Tensor:
    """Even angles."""
    return torch.arange(number, dtype=torch.float64) * (2 * pi / number)


def _angle_between(found: Tensor, true: Tensor) -> Tensor:
    cross = found[:, 0] * true[:, 1] - found[:, 1] * true[:, 0]
    return torch.atan2(cross, (found * true).sum(1)).abs()


def _network(x: Tensor, y: Tensor) -> Function:
    """One hidden layer, trained on all points at once."""
    network = nn.Sequential(nn.Linear(2, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(_UPDATES):
        loss = (network(x)[:, 0] - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.requires_grad_(False)

    def value(points: Tensor) -> Tensor:
        found: Tensor = network(points)[:, 0]
        return found

    return value
