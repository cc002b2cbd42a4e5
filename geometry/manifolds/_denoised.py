"""A denoising diffusion model as a manifold: projection by one denoising step, tangents from the denoiser's Jacobian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from geometry.manifolds._denoiser_network import DenoiserNetwork
from geometry.manifolds._denoising import clean, ddim_step, kept_at, levels, walk
from geometry.manifolds._denoising_density import flow_log_density
from geometry.manifolds._rows import lengths, like, rows

TOGETHER = 1 << 20  # numbers of the inputs that pass the network together in Jacobians


@dataclass(frozen=True, eq=False)
class DenoisedManifold:
    """What denoising leaves of inputs of a shape S in [0, 1]; computed in float32.

    An input is taken for an image with the noise of `time`, and its projection is the expected image; the nearer the
    input, the nearer this is to the nearest point. Nothing is drawn. `noise` works on images counted in [-1, 1].
    """

    network: DenoiserNetwork
    shape: tuple[int, ...]
    dim: int
    time: float
    iterations: int

    def noise(self, x: Tensor, kept: float, /) -> Tensor:
        """The noise in noisy images of which a share is kept, the denoiser of `_denoising`: (B, *S) -> (B, *S)."""
        if self.network.spread.device != x.device:
            self.network.to(x.device)
        found = self.network(x.float(), torch.full((len(x),), kept, device=x.device))
        return cast("Tensor", found).to(x.dtype)

    def project(self, x: Tensor, /) -> Tensor:
        """The expected image: (B, *S) -> (B, *S). Raises ValueError for other shapes, for nan and infinity."""
        given = rows(x, self.shape, dtype=torch.float32)
        return like(self._denoised(given.view(-1, *self.shape)).flatten(1), x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the projection: (B, *S) -> (B,); raises as `project` does."""
        given = rows(x, self.shape, dtype=torch.float32)
        return lengths(given - self._denoised(given.view(-1, *self.shape)).flatten(1), x)

    @torch.no_grad()
    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """The Jacobian's leading right singular vectors at the projection: (B, *S) -> (B, D, d); raises as `project` does.

        By block iteration from the same directions for every input; for an exact denoiser the Jacobian is the covariance
        of the image given the input over the noise's variance, so that they are the directions in which images vary.
        """
        size = max(1, TOGETHER // (math.prod(self.shape) * self.dim))
        found = [self._basis(part) for part in torch.split(self.project(x).float(), size)]
        return torch.cat(found).to(x.dtype) if found else x.new_zeros(0, math.prod(self.shape), self.dim)

    def sample(self, number: int, generator: torch.Generator, /, *, steps: int = 25) -> Tensor:
        """Images from noise by as many DDIM steps: (number, *S) float32 in [0, 1]."""
        x = torch.randn(number, *self.shape, generator=generator, device=generator.device)
        with torch.no_grad():
            return (0.5 * walk(self.noise, x, levels(1.0, steps), ddim_step) + 0.5).clamp(0, 1)

    def log_density(self, x: Tensor, probes: Tensor, /, *, steps: int = 10) -> Tensor:
        """Log-density in nats, in units of [0, 1], by the probability-flow equation: (B, *S) -> (B,).

        probes (k, B, *S) are random signs or normal numbers, of which the divergence is estimated (Hutchinson).
        """
        rows(x, self.shape, dtype=torch.float32)
        found = flow_log_density(self.noise, 2 * x.float() - 1, levels(1.0, steps), probes)
        return (found + math.prod(self.shape) * math.log(2)).to(x.dtype)

    def _denoised(self, x: Tensor) -> Tensor:
        kept = kept_at(self.time)
        noisy = math.sqrt(kept) * (2 * x - 1)
        return 0.5 * clean(noisy, self.noise(noisy, kept), kept) + 0.5

    def _basis(self, x: Tensor) -> Tensor:
        number, features, dim = len(x), math.prod(self.shape), min(self.dim, math.prod(self.shape))
        begin = torch.randn(features, dim, generator=torch.Generator().manual_seed(0)).to(x)
        basis: Tensor = torch.linalg.qr(begin).Q.expand(number, -1, -1)
        copies = x.repeat_interleave(dim, 0)

        for _ in range(self.iterations):
            directions = basis.mT.reshape(number * dim, *self.shape)
            moved = cast("Tensor", torch.func.jvp(self._denoised, (copies,), (directions,))[1])
            back = torch.func.vjp(self._denoised, copies)[1](moved)[0]
            basis = torch.linalg.qr(back.view(number, dim, features).mT).Q
        return basis
