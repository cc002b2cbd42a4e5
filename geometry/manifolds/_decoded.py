"""The image of a decoder as a manifold: codes by an encoder, refined; tangents by forward differentiation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from geometry.manifolds._rows import lengths, like, rows

DAMPING = 1e-4  # of the mean square of the Jacobian's columns
SHARES = (1.0, 0.5, 0.25, 0.125)  # of a Gauss-Newton step, of which the best is taken
TOGETHER = 1 << 24  # numbers of the Jacobians that are held together


class Decoder(Protocol):
    """A network that encodes rows (B, D) and decodes codes (B, d); `mean` tells its device."""

    @property
    def mean(self) -> Tensor: ...

    def encode(self, x: Tensor, /) -> Tensor: ...

    def decode(self, z: Tensor, /) -> Tensor: ...

    def to(self, device: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class DecodedManifold:
    """The points decode(z), z (d,), among inputs of a shape S with D numbers; computed in float32.

    The nearest point is searched from the encoder's code, with steps that never lead farther away: it is a local minimum at
    best. Gradients of codes and projections pass through the encoder, what the search added held still.
    """

    network: Decoder
    shape: tuple[int, ...]
    dim: int
    refinements: int

    def encode(self, x: Tensor, /) -> Tensor:
        """The refined code of each input: (B, *S) -> (B, d). Raises ValueError for other shapes, for nan and infinity."""
        return self._code(rows(x, self.shape, dtype=torch.float32)).to(x.dtype)

    def decode(self, z: Tensor, /) -> Tensor:
        """The points of codes: (B, d) -> (B, *S)."""
        return self._on(z).decode(z.float()).to(z.dtype).reshape(len(z), *self.shape)

    def project(self, x: Tensor, /) -> Tensor:
        """The point of the refined code: (B, *S) -> (B, *S); raises as `encode` does."""
        return like(self._projected(rows(x, self.shape, dtype=torch.float32)), x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the projection, the reconstruction error: (B, *S) -> (B,); raises as `encode` does."""
        given = rows(x, self.shape, dtype=torch.float32)
        return lengths(given - self._projected(given), x)

    @torch.no_grad()
    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """Orthonormal columns of the decoder's Jacobian at the refined code: (B, *S) -> (B, D, d); raises as `encode` does."""
        code = self._code(rows(x, self.shape, dtype=torch.float32))
        basis: Tensor = torch.linalg.qr(self.jacobian(code)).Q
        return basis.to(x.dtype)

    @torch.no_grad()
    def jacobian(self, z: Tensor, /) -> Tensor:
        """The decoder's Jacobian at codes, by forward differentiation: (B, d) -> (B, D, d)."""
        network, given = self._on(z), z.detach().float()
        size = max(1, TOGETHER // (math.prod(self.shape) * self.dim))
        return torch.cat([_jacobian(network, block) for block in torch.split(given, size)]).to(z.dtype)

    def _on(self, z: Tensor) -> Decoder:
        if self.network.mean.device != z.device:
            self.network.to(z.device)
        return self.network

    def _projected(self, given: Tensor) -> Tensor:
        return self._on(given).decode(self._code(given))

    def _code(self, given: Tensor) -> Tensor:
        code = self._on(given).encode(given)
        refined = code.detach()
        for _ in range(self.refinements):
            refined = self._refined(refined, given.detach())
        return code + (refined - code.detach())

    @torch.no_grad()
    def _refined(self, code: Tensor, given: Tensor) -> Tensor:
        """Codes (B, d) after a damped Gauss-Newton step, as much of it as leads nearest to the rows (B, D), or none."""
        jacobian = self.jacobian(code)
        offset = given - self.network.decode(code)
        gram = jacobian.mT @ jacobian
        damping = DAMPING * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(gram.dtype).tiny)
        damped = gram + damping[:, None, None] * torch.eye(self.dim).to(gram)
        step = torch.linalg.solve(damped, (jacobian.mT @ offset[..., None]))[..., 0]
        best, nearest = code, torch.linalg.vector_norm(offset, dim=1)
        for share in SHARES:
            tried = code + share * step
            far = torch.linalg.vector_norm(given - self.network.decode(tried), dim=1)
            best = torch.where((far < nearest)[:, None], tried, best)
            nearest = torch.minimum(far, nearest)
        return best


def _jacobian(network: Decoder, z: Tensor) -> Tensor:
    decode = network.decode
    directions = torch.eye(z.shape[1]).to(z)

    def along(direction: Tensor) -> Tensor:
        return cast("Tensor", torch.func.jvp(decode, (z,), (direction.expand_as(z),))[1])

    return torch.func.vmap(along, out_dims=-1)(directions)
