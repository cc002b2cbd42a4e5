"""What manifolds known in closed form share: the loaded manifold, unit vectors, complements of a normal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Generator, Tensor

from geometry.manifolds._rows import lengths, like, rows


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A manifold of dimension dim in R^ambient, from three formulas on rows (B, ambient).

    nearest: the nearest points of the manifold. tangents: orthonormal bases (B, ambient, dim) at the nearest points.
    draw(number, generator): points spread evenly, in float64.
    """

    dim: int
    ambient: int
    nearest: Callable[[Tensor], Tensor]
    tangents: Callable[[Tensor], Tensor]
    draw: Callable[[int, Generator], Tensor]

    def project(self, x: Tensor, /) -> Tensor:
        """The nearest point of the manifold: (B, ambient) -> (B, ambient), differentiable where it is unique.

        Where it is not, one of the nearest is taken. Raises ValueError for other shapes and for numbers that are not finite.
        """
        return like(self.nearest(rows(x, (self.ambient,))), x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the manifold: (B, ambient) -> (B,); raises as `project` does."""
        given = rows(x, (self.ambient,))
        return lengths(given - self.nearest(given), x)

    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """Orthonormal tangents at the nearest point: (B, ambient) -> (B, ambient, dim); raises as `project` does."""
        return self.tangents(rows(x, (self.ambient,))).to(x.dtype)

    def sample(self, number: int, generator: Generator, /) -> Tensor:
        """Independent points (number, ambient) with uniform density on the manifold, float64, on the generator's device."""
        if number < 0:
            raise ValueError(f"the number of points must be at least 0, not {number}")
        return self.draw(number, generator)


def uniform(number: int, columns: int, generator: Generator) -> Tensor:
    """Uniform numbers (number, columns) in [0, 1), float64."""
    return torch.rand(number, columns, generator=generator, device=generator.device, dtype=torch.float64)


def angles(number: int, columns: int, generator: Generator) -> Tensor:
    """Uniform angles (number, columns) in [0, 2 pi), float64."""
    return 2 * pi * uniform(number, columns, generator)


def unit(vectors: Tensor) -> Tensor:
    """Vectors (B, D) of length 1; the first axis for those of length 0."""
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    first = torch.zeros_like(vectors)
    first[:, 0] = 1.0
    return torch.where(length > 0, vectors / torch.where(length > 0, length, 1.0), first)


def complement(normals: Tensor) -> Tensor:
    """Orthonormal bases (B, D, D - 1) of what is orthogonal to unit vectors (B, D): columns of a Householder reflection."""
    towards = normals.clone()
    sign = torch.where(normals[:, 0] < 0, -1.0, 1.0).to(normals.dtype)
    towards[:, 0] += sign
    scale = 2.0 / towards.square().sum(1)
    reflection = -scale[:, None, None] * towards[:, :, None] * towards[:, None, :]
    reflection = reflection + torch.eye(normals.shape[1], dtype=normals.dtype, device=normals.device)
    return reflection[:, :, 1:]


def turned(directions: Tensor) -> Tensor:
    """Unit vectors of a plane (B, 2) turned left by a right angle."""
    return torch.stack([-directions[:, 1], directions[:, 0]], dim=1)


def center_of(center: Sequence[float], dimensions: int | None = None) -> Tensor:
    """A centre as a tensor; raises ValueError unless it is finite and has as many coordinates as it must."""
    found = torch.tensor([float(value) for value in center], dtype=torch.float64)
    if (dimensions is not None and len(found) != dimensions) or len(found) < 2 or not bool(found.isfinite().all()):
        wanted = "two coordinates at least" if dimensions is None else f"{dimensions} coordinates"
        raise ValueError(f"the centre has {wanted}, all finite; given: {tuple(center)}")
    return found
