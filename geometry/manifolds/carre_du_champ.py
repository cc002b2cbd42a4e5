"""Tangents from the carre du champ: the covariance of one diffusion step of smoothed data."""

from __future__ import annotations

import torch
from torch import Tensor

from geometry.manifolds._diffusion import Diffusion


def carre_du_champ_tangents(diffusion: Diffusion, given: Tensor, dim: int, /) -> Tensor:
    """Orthonormal tangents (B, D, dim) at rows (B, D): the directions in which a step of the smoothed data varies most.

    The data are smoothed by the first 4 dim + 5 eigenfunctions phi, or all there are, with coordinates X: the covariance
    of a step from x to q is X^T C X with C = E (phi(q) - phi(x)) (phi(q) - phi(x))^T, small and positive by construction.
    """
    number = min(4 * dim + 5, len(diffusion.eigenvalues))
    frame, triangle = torch.linalg.qr(diffusion.coordinates[1:number].T)
    functions = diffusion.functions[:, 1:number]
    products = (functions[:, :, None] * functions[:, None, :]).flatten(1)
    found = []
    for steps, extended in diffusion.blocks(given):
        mean, here = steps.chances @ functions, extended[:, 1:number]
        second = (steps.chances @ products).reshape(-1, number - 1, number - 1)
        cross = mean[:, :, None] * here[:, None, :]
        covariance = second - cross - cross.transpose(1, 2) + here[:, :, None] * here[:, None, :]
        vectors = torch.linalg.eigh(triangle @ covariance @ triangle.T).eigenvectors
        found.append(frame @ vectors[:, :, -dim:].flip(2))
    return torch.cat(found)
