"""The Hodge 1-Laplacian from eigenfunctions of the Laplacian: spectral exterior calculus.

Functions phi_i with Laplacian eigenvalues l_i, of which the first n make frames; c_ijs = mean(phi_i phi_j phi_s) with i, j < n.
Gram matrices are of inner products of fields, energies of curl and divergence together. Mahler et al. 2024, section 2.2 and
appendix A; Berry & Giannakis 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KEPT = 1e-3  # share of the largest eigenvalue below which directions of a redundant frame are dropped
SPURIOUS = -0.5  # in units of the first Laplacian eigenvalue: energies below this come from too few product functions


@dataclass(frozen=True, eq=False)
class Forms:
    """Gram matrix and energy (m, m) of a frame, and the frame's fields as operators (m, n, n): <phi_k, v(phi_l)>."""

    gram: Tensor
    energy: Tensor
    operators: Tensor


def structure_constants(functions: Tensor, weights: Tensor, number: int) -> Tensor:
    """Means (n, n, s) of products of three functions (N, s), with weights (N,), the first two among the first n."""
    first = functions[:, :number]
    products = (first[:, :, None] * first[:, None, :]).flatten(1) * weights[:, None]
    return (products.T @ functions).reshape(number, number, -1)


def product_frame(constants: Tensor, eigenvalues: Tensor) -> Forms:
    """The n^2 fields phi_i grad phi_j."""
    number = len(constants)
    parts, energy = _first_products(constants, eigenvalues), _product_energy(constants, eigenvalues)
    shape = (number**2, number**2)
    return Forms(parts.reshape(shape), energy.reshape(shape), parts.reshape(-1, number, number))


def antisymmetric_frame(constants: Tensor, eigenvalues: Tensor) -> Forms:
    """The n (n - 1) / 2 fields phi_i grad phi_j - phi_j grad phi_i with i < j."""
    parts = _first_products(constants, eigenvalues)
    swapped = parts - parts.transpose(
        0, 1
    )  # [ij, k, l] of phi_i grad phi_j - phi_j grad phi_i against phi_k grad phi_l
    gram = swapped - swapped.transpose(2, 3)
    number = len(constants)
    low = eigenvalues[:number]
    total = low[:, None, None, None] + low[:, None, None] + low[:, None] + low
    energy = _exchanged(constants, eigenvalues.square()) - total * _exchanged(constants, eigenvalues)
    i, j = torch.triu_indices(number, number, 1, device=constants.device)
    return Forms(gram[i, j][:, i, j], energy[i, j][:, i, j], swapped[i, j])


def _first_products(constants: Tensor, eigenvalues: Tensor) -> Tensor:
    """<phi_i grad phi_j, phi_k grad phi_l> = sum_s c_iks g_jls, where g_jls = <grad phi_j . grad phi_l, phi_s>."""
    found: Tensor = torch.einsum("iks,jls->ijkl", constants, _gradients(constants, eigenvalues))
    return found


def _gradients(constants: Tensor, eigenvalues: Tensor) -> Tensor:
    low = eigenvalues[: len(constants)]
    return (low[:, None, None] + low[None, :, None] - eigenvalues) * constants / 2


def _product_energy(constants: Tensor, eigenvalues: Tensor) -> Tensor:
    """Curl sum_s (g_iks g_jls - g_ils g_jks) plus divergence sum_s h_ijs h_kls, with h_ijs = l_j c_ijs - g_ijs."""
    gradients = _gradients(constants, eigenvalues)
    divergence = eigenvalues[: len(constants)][None, :, None] * constants - gradients
    curl = torch.einsum("iks,jls->ijkl", gradients, gradients) - torch.einsum("ils,jks->ijkl", gradients, gradients)
    return curl + torch.einsum("ijs,kls->ijkl", divergence, divergence)


def _exchanged(constants: Tensor, factors: Tensor) -> Tensor:
    """sum_s f_s (c_iks c_jls - c_ils c_jks) for factors f (s,)."""
    direct: Tensor = torch.einsum("iks,jls->ijkl", constants * factors, constants)
    return direct - direct.transpose(2, 3)


def smoothest(forms: Forms, unit: float) -> tuple[Tensor, Tensor]:
    """Energies (r,) in order and coefficients (m, r) of the frame's fields of least energy, orthonormal in the mean.

    Directions in which the frame is redundant are dropped, and spurious fields, of an energy below -unit / 2, with unit
    the first Laplacian eigenvalue. Raises ValueError where nothing is left.
    """
    gram, energy = (forms.gram + forms.gram.T) / 2, (forms.energy + forms.energy.T) / 2
    both, vectors = torch.linalg.eigh(energy + gram)
    vectors = vectors[:, both > KEPT * both[-1]]
    sizes, inner = torch.linalg.eigh(vectors.T @ gram @ vectors)
    kept = sizes > KEPT * sizes[-1]
    whitened = vectors @ (inner[:, kept] / sizes[kept].sqrt())
    energies, fields = torch.linalg.eigh(whitened.T @ energy @ whitened)
    real = energies > SPURIOUS * unit
    if not bool(real.any()):
        raise ValueError(
            "all fields are spurious, of negative energy; use more product functions or fewer frame functions"
        )
    return energies[real], whitened @ fields[:, real]
