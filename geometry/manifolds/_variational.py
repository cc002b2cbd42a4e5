"""Variational autoencoders: the network, its divergences, its training, and the manifold that the decoder's means make."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geometry.manifolds._autoencoder_network import connections, convolutions
from geometry.manifolds._decoded import DecodedManifold
from geometry.manifolds._rows import rows

Divergence = Callable[[Tensor, Tensor], Tensor]  # means and log-variances (B, d) -> (B,)


class VariationalNetwork(nn.Module):
    """Codes with their log-variances of rows (B, D), and the means (B, D) in [0, 1] of the pixels of codes (B, d)."""

    mean: Tensor

    def __init__(self, shape: tuple[int, ...], dim: int, width: int) -> None:
        super().__init__()
        self.shape, self.dim = shape, dim
        self.register_buffer("mean", torch.full((math.prod(shape),), 0.5))
        images = len(shape) == 3 and min(shape[1:]) >= 4
        built = convolutions if images else connections
        self.layers_in, _ = built(shape, 2 * dim, width)
        _, self.layers_out = built(shape, dim, width)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the codes of rows: (B, D) -> (B, d) twice."""
        found = self.layers_in((x - self.mean).reshape(-1, *self.shape))
        return found[:, : self.dim], found[:, self.dim :].clamp(-12.0, 8.0)

    def encode(self, x: Tensor) -> Tensor:
        """The mean code of rows: (B, D) -> (B, d)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """The mean rows of codes: (B, d) -> (B, D) in (0, 1)."""
        found: Tensor = self.layers_out(z)
        if found.ndim == 4:
            found = found[..., : self.shape[1], : self.shape[2]].flatten(1)
        return torch.sigmoid(found)


def standard_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, variance) from N(0, I): (B, d) twice -> (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)


def grid_divergence(deviation: float, levels: int) -> Divergence:
    """From the nearest of normal distributions about 0 .. levels - 1 in every dimension: (B, d) twice -> (B,).

    The nearest centre is held still, as rounding has no gradient. Source: Tu et al. 2023, equation 28 (with deviation^2 in
    all of it).
    """

    def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
        return centered_divergence(mean, log_variance, mean.detach().round().clamp(0, levels - 1), deviation)

    return divergence


def centered_divergence(mean: Tensor, log_variance: Tensor, center: Tensor, deviation: float) -> Tensor:
    """Kullback-Leibler divergence of N(mean, variance) from N(center, deviation^2 I): (B, d) three times -> (B,)."""
    ratio = (log_variance.exp() + (mean - center).square()) / deviation**2
    return 0.5 * (2 * math.log(deviation) - log_variance - 1 + ratio).sum(1)


def log_likelihood(x: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """Log-density of rows (B, D) under N(mean, deviation^2 I): (B,)."""
    constant = x.shape[1] * math.log(deviation * math.sqrt(2 * math.pi))
    return -0.5 * ((x - mean) / deviation).square().sum(1) - constant


def evidence(
    network: VariationalNetwork, x: Tensor, noise: Tensor | None, *, deviation: float, divergence: Divergence
) -> Tensor:
    """The evidence lower bound of rows (B, D) with one code each: (B,). noise (B, d), or None for the mean code."""
    mean, log_variance = network.posterior(x)
    z = mean if noise is None else mean + (0.5 * log_variance).exp() * noise
    return log_likelihood(x, network.decode(z), deviation) - divergence(mean, log_variance)


@dataclass(frozen=True, eq=False)
class VariationalManifold(DecodedManifold):
    """The decoder's means as a manifold, with the evidence lower bound of any input and samples of the prior."""

    deviation: float
    divergence: Divergence
    prior: Callable[[int, torch.Generator], Tensor]

    def elbo(self, x: Tensor, noise: Tensor | None = None, /) -> Tensor:
        """Evidence lower bound in nats with one code for each input, differentiable: (B, *S), noise (B, d) -> (B,).

        noise is standard normal; None takes the mean code. Raises ValueError for other shapes, nan and infinity.
        """
        given = rows(x, self.shape, dtype=torch.float32)
        network = self._on(given)
        assert isinstance(network, VariationalNetwork)
        found = evidence(network, given, noise, deviation=self.deviation, divergence=self.divergence)
        return found.to(x.dtype)

    def posterior(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the encoder's codes: (B, *S) -> (B, d) twice; raises as `elbo` does."""
        given = rows(x, self.shape, dtype=torch.float32)
        network = self._on(given)
        assert isinstance(network, VariationalNetwork)
        return network.posterior(given)

    def sample(self, number: int, generator: torch.Generator, /) -> Tensor:
        """Means of the decoder at codes of the prior: (number, *S) float32 in [0, 1]."""
        with torch.no_grad():
            return self.decode(self.prior(number, generator))
