"""Tangents from the smoothest vector fields of the data, by spectral exterior calculus."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.manifolds._diffusion import Diffusion, DiffusionManifold, load_diffusion
from geometry.manifolds._diffusion_fit import Options, fit_diffusion
from geometry.manifolds._hodge import antisymmetric_frame, product_frame, smoothest, structure_constants
from geometry.manifolds._rows import Data, State
from geometry.manifolds.carre_du_champ import carre_du_champ_tangents


@dataclass(frozen=True, eq=False)
class VectorFields:
    """Vector fields as operators on functions (r, n, n), in order of energy (r,); entry [k, l] of v is <phi_k, v(phi_l)>.

    The energy of a field of length 1 in the mean is its eigenvalue of the Hodge 1-Laplacian.
    """

    energies: Tensor
    operators: Tensor

    def __call__(self, functions: Tensor, coordinates: Tensor, /) -> Tensor:
        """The fields as vectors (B, r, D), from the n functions at inputs (B, n) and the coordinates' coefficients (n, D)."""
        return torch.matmul(torch.einsum("bk,rkl->brl", functions, self.operators), coordinates)


def smoothest_fields(
    functions: Tensor, eigenvalues: Tensor, weights: Tensor, *, frame_functions: int = 9, antisymmetric: bool = True
) -> VectorFields:
    """The vector fields of least curl and divergence that the first n = frame_functions eigenfunctions make.

    functions (N, s) are orthonormal in the mean with weights (N,) and belong to the Laplacian's eigenvalues (s,), 0
    first; s well above n resolves the products, else fields of negative energy appear and are dropped. antisymmetric:
    from phi_i grad phi_j - phi_j grad phi_i; otherwise from phi_i grad phi_j. Raises ValueError unless 2 <= n <= s, and
    where nothing but spurious fields is found. Mahler et al. 2024, section 2.2.
    """
    if not 2 <= frame_functions <= functions.shape[1]:
        raise ValueError(
            f"frame_functions must lie between 2 and the {functions.shape[1]} eigenfunctions, not {frame_functions}"
        )
    constants = structure_constants(functions, weights, frame_functions)
    frame = antisymmetric_frame if antisymmetric else product_frame
    forms = frame(constants, eigenvalues)
    energies, fields = smoothest(forms, float(eigenvalues[1]))
    return VectorFields(energies, torch.einsum("mr,mkl->rkl", fields, forms.operators))


@dataclass(frozen=True)
class SpectralExteriorCalculus:
    """The manifold of `conformally_invariant_diffusion_map`, with tangents from the data's smoothest vector fields.

    At an input the tangents are the leading right singular vectors of the `fields` smoothest fields there, 2 dim + 1 of
    them where it is None: one field may vanish somewhere, several do not together. frame_functions make the fields,
    product_functions resolve their products. Fields phi_i grad phi_j, where not antisymmetric, need some hundred of these:
    on 1,000 points of a sphere 40 suffice for the antisymmetric ones alone. Mahler et al. 2024, section 2.2.
    """

    eigenfunctions: int = 50
    neighbors: int = 20
    dim: int | None = None
    frame_functions: int = 9
    product_functions: int = 40
    fields: int | None = None
    antisymmetric: bool = True

    def fit(self, data: Data) -> State:
        """Eigenfunctions and vector fields of the data; warns and raises as `fit_diffusion` and `smoothest_fields` do.

        Raises ValueError too where there are fewer fields or frame functions than the dimension needs.
        """
        if not self.frame_functions <= self.product_functions <= self.eigenfunctions:
            raise ValueError(
                "frame_functions <= product_functions <= eigenfunctions is needed, not "
                f"{self.frame_functions}, {self.product_functions}, {self.eigenfunctions}"
            )
        options = Options(self.eigenfunctions, self.neighbors, self.dim, None, None, variable=True)
        state = fit_diffusion(data, options)
        diffusion = load_diffusion(
            state, neighbors=self.neighbors, variable=True, tangents=carre_du_champ_tangents
        ).diffusion
        found = smoothest_fields(
            state["functions"][:, : self.product_functions],
            diffusion.laplacian[: self.product_functions],
            state["weights"],
            frame_functions=self.frame_functions,
            antisymmetric=self.antisymmetric,
        )
        dim = int(state["dim"])
        number = 2 * dim + 1 if self.fields is None else self.fields
        _require_fields(dim, number=number, found=len(found.energies), frame_functions=self.frame_functions)
        kept = {"energies": found.energies[:number], "operators": found.operators[:number].contiguous()}
        return state | kept

    def load(self, state: State) -> DiffusionManifold:
        """The fitted manifold; the fields' energies are the state's."""
        fields = VectorFields(state["energies"], state["operators"])

        def tangents(diffusion: Diffusion, given: Tensor, dim: int, /) -> Tensor:
            return field_tangents(fields, diffusion, given, dim=dim)

        return load_diffusion(state, neighbors=self.neighbors, variable=True, tangents=tangents)


def field_tangents(fields: VectorFields, diffusion: Diffusion, given: Tensor, *, dim: int) -> Tensor:
    """Orthonormal tangents (B, D, dim) at rows (B, D): leading right singular vectors of the fields there."""
    number = fields.operators.shape[1]
    frame, triangle = torch.linalg.qr(diffusion.coordinates[:number].T)
    operators = VectorFields(fields.energies.to(given), fields.operators.to(given))
    vectors = operators(diffusion.extend(given).functions[:, :number], triangle.T)
    right: Tensor = torch.linalg.svd(vectors, full_matrices=False).Vh
    return torch.matmul(frame, right[:, :dim].transpose(1, 2))


def _require_fields(dim: int, *, number: int, found: int, frame_functions: int) -> None:
    if not dim <= number <= found or frame_functions <= dim:
        raise ValueError(
            f"{number} fields of {found} found, made of {frame_functions} functions, do not span tangents of dimension {dim}; "
            "ask for as many fields as dimensions at least, raise frame_functions and product_functions, or lower dim"
        )
