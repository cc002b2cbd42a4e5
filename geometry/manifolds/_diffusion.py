"""A fitted diffusion map as a manifold: Nystrom extension, projection, and how far both may be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.manifolds._kernel import Kernel, Steps
from geometry.manifolds._rows import State, lengths, like, on_device, rows

TOGETHER = 1 << 22  # kernel entries that are held together
FAR = 3.0  # local scales by which a projection may leave that of the nearest point before it is warned of


@dataclass(frozen=True, eq=False)
class Drift:
    """How far inputs lie from the data and from their projections, a value each (B,).

    distance: to the projection, in units of the input. nearest: to the nearest data point, in that point's local scale.
    drift: between the projections of the input and of that data point, in the same scale. Near the manifold it is about
    1. Far outside, for a kernel that does not count distances beyond the nearest point's, it grows without bound.
    """

    distance: Tensor
    nearest: Tensor
    drift: Tensor


@dataclass(frozen=True, eq=False)
class Extension:
    """Eigenfunctions (B, L) at rows, and distance and index (B,) of the data point nearest to each."""

    functions: Tensor
    nearest: Tensor
    index: Tensor


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Eigenfunctions (N, L) of the data's diffusion and their eigenvalues (L,), extended to any input.

    weights (N,) sum to 1; in the mean with them the functions are orthonormal, and this is the inner product of every
    expansion. local_scales (N,) are the mean distances to the nearest points; coordinates (L, D) are the coefficients of
    the data's own coordinates.
    """

    kernel: Kernel
    eigenvalues: Tensor
    functions: Tensor
    weights: Tensor
    local_scales: Tensor
    coordinates: Tensor

    @property
    def laplacian(self) -> Tensor:
        """Eigenvalues (L,) of the Laplacian, -2 log(eigenvalue) / bandwidth: the kernel is its heat at time bandwidth / 2."""
        return -2 * self.eigenvalues.clamp(max=1.0).log() / self.kernel.bandwidth

    def coefficients(self, values: Tensor) -> Tensor:
        """The functions' coefficients (L, F) of values (N, F) known at the data."""
        return self.functions.T @ (self.weights[:, None] * values)

    def blocks(self, given: Tensor) -> Iterator[tuple[Steps, Tensor]]:
        """Steps from rows (B, D), and Nystrom's extension of the eigenfunctions there, some rows at a time."""
        mixture = self.functions / self.eigenvalues
        for block in torch.split(given, max(1, TOGETHER // len(self.functions))):
            steps = self.kernel.steps(block)
            yield steps, steps.chances @ mixture

    def extend(self, given: Tensor) -> Extension:
        """Eigenfunctions at rows (B, D) by Nystrom's formula, differentiable; exact at the data.

        Mahler et al. 2024, equation (2), where the divisor is the eigenvalue of D^-1 K.
        """
        parts = [(functions, steps.nearest, steps.index) for steps, functions in self.blocks(given)]
        return Extension(*(torch.cat(column) for column in zip(*parts, strict=True)))


Tangents = Callable[[Diffusion, Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class DiffusionManifold:
    """The image of the data's coordinates under their expansion in the smoothest eigenfunctions.

    Their number is the resolution: few cut through noise, many follow it. Projecting twice is not quite projecting once,
    but in the limit of many functions. components (N,) names each data point's piece of the neighbour graph.
    tangents(diffusion, rows (B, D), dim) -> (B, D, dim).
    """

    diffusion: Diffusion
    center: Tensor
    shape: tuple[int, ...]
    dim: int
    dimension_estimate: float
    components: Tensor
    tangents: Tangents

    def encode(self, x: Tensor, /) -> Tensor:
        """Eigenfunctions at inputs: (B, *S) -> (B, L), differentiable, exact at the data.

        Raises ValueError for another shape than that of the data and for numbers that are not finite.
        """
        here, given = self._at(x)
        return here.diffusion.extend(given).functions.to(x.dtype)

    def decode(self, z: Tensor, /) -> Tensor:
        """The expansion of the data's coordinates at values z (B, L) of the eigenfunctions: -> (B, *S)."""
        here = self._on(z.device)
        found = z.double() @ here.diffusion.coordinates + here.center
        return found.to(z.dtype).reshape(len(z), *self.shape)

    def project(self, x: Tensor, /) -> Tensor:
        """Nystrom projection: (B, *S) -> (B, *S), differentiable; raises as `encode` does.

        Warns of inputs that land more than 3 local scales from where their nearest data point does: see `drift`.
        Mahler et al. 2024, section 1.1.2, with the inner product in which the functions are orthonormal.
        """
        here, given = self._at(x)
        extension = here.diffusion.extend(given)
        _warn(here._drift(given, extension).drift)
        return like(extension.functions @ here.diffusion.coordinates + here.center, x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the Nystrom projection: (B, *S) -> (B,); raises as `encode` does."""
        here, given = self._at(x)
        return lengths(given - here.diffusion.extend(given).functions @ here.diffusion.coordinates, x)

    @torch.no_grad()
    def drift(self, x: Tensor, /) -> Drift:
        """How far inputs lie from the data and how far their projections may be trusted; raises as `encode` does."""
        here, given = self._at(x)
        return here._drift(given, here.diffusion.extend(given))

    @torch.no_grad()
    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """Orthonormal tangents at inputs: (B, *S) -> (B, D, dim); raises as `encode` does."""
        here, given = self._at(x)
        return self.tangents(here.diffusion, given, self.dim).to(x.dtype)

    @torch.no_grad()
    def scale(self, x: Tensor, /) -> Tensor:
        """The local scale, the mean distance to the nearest data points as the kernel counts it: (B, *S) -> (B,).

        In units of the input; raises as `encode` does. Mahler et al. 2024, section 1.1.1, rho.
        """
        here, given = self._at(x)
        blocks = torch.split(given, max(1, TOGETHER // len(self.components)))
        return torch.cat([here.diffusion.kernel.scale(block) for block in blocks]).to(x.dtype)

    def extension(self, values: Tensor, /) -> Callable[[Tensor], Tensor]:
        """Values (N, F) known at the data, such as labels, as a function of inputs (B, *S) -> (B, F), differentiable.

        An angle is given by its cosine and sine. Raises ValueError unless there are N rows of finite numbers.
        """
        number = len(self.components)
        if values.ndim != 2 or len(values) != number or not bool(values.isfinite().all()):
            raise ValueError(
                f"values ({number}, F), finite, a row for each data point, are needed; not {tuple(values.shape)}"
            )
        coefficients = self.diffusion.coefficients(values.to(self.center))
        return lambda x: (self.encode(x).double() @ coefficients.to(x.device)).to(x.dtype)

    def _at(self, x: Tensor) -> tuple[DiffusionManifold, Tensor]:
        """The manifold on the inputs' device, and the inputs as rows about its center."""
        here = self._on(x.device)
        return here, rows(x, self.shape, dtype=torch.float64) - here.center

    def _on(self, device: torch.device) -> DiffusionManifold:
        return self if self.center.device == device else on_device(self, device)

    @torch.no_grad()
    def _drift(self, given: Tensor, extension: Extension) -> Drift:
        diffusion, index = self.diffusion, extension.index
        found = extension.functions @ diffusion.coordinates
        own = diffusion.functions[index] @ diffusion.coordinates
        scale = diffusion.local_scales[index]
        return Drift(lengths(given - found, given), extension.nearest / scale, lengths(found - own, given) / scale)


def load_diffusion(
    state: State, *, neighbors: int, variable: bool, tangents: Tangents, beyond_nearest: bool = True
) -> DiffusionManifold:
    """The manifold of a state that `fit_diffusion` gave, with the options it was fitted with."""
    center = state["points"].mean(0)
    known, functions, weights = state["points"] - center, state["functions"], state["weights"]
    kernel = Kernel(
        known,
        float(state["bandwidth"]),
        neighbors,
        state["scales"] if variable else None,
        state.get("reach"),
        state["density"],
        int(state["graph_neighbors"]),
        beyond_nearest,
    )
    diffusion = Diffusion(
        kernel, state["eigenvalues"], functions, weights, state["scales"], functions.T @ (weights[:, None] * known)
    )
    shape, estimate = tuple(state["shape"].tolist()), float(state["dimension_estimate"])
    return DiffusionManifold(diffusion, center, shape, int(state["dim"]), estimate, state["components"], tangents)


def _warn(drift: Tensor) -> None:
    count = int((drift > FAR).sum())
    if count:
        warnings.warn(
            f"{count} of {len(drift)} inputs lie so far from the data that their projection is up to {float(drift.max()):.3g} "
            "local scales from that of their nearest data point; take shorter steps, or look at drift(x)",
            stacklevel=3,
        )
