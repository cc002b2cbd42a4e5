"""The divergence of GridVAE's posteriors from its prior: nearest centre, torch.distributions, and the whole grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence

from geometry.manifolds._variational import grid_divergence

Row = dict[str, Any]

_MEANS = (-0.5, 0.0, 0.25, 0.5)
_DEVIATIONS = (0.05, 0.25, 0.5)
_POINTS, _FAR = 20_001, 10.0  # of quadrature, deviations on either side
_DRAWS = 20_000


def divergences(deviation: float, levels: int) -> Iterator[Row]:
    """Rows of a posterior of one dimension: equation 28, torch's, and equation 26 by quadrature and by drawn codes.

    nearest is without the centres' share log(levels); with it, it is an upper bound of whole, and the nearer the less centres
    overlap.
    """
    nearest = grid_divergence(deviation, levels)
    prior = mixture(deviation, levels)
    for spread in _DEVIATIONS:
        for mean in _MEANS:
            center = min(max(round(mean), 0), levels - 1)
            posterior = Normal(torch.tensor(mean, dtype=torch.float64), torch.tensor(spread, dtype=torch.float64))
            found = nearest(posterior.mean.view(1, 1), 2 * posterior.stddev.log().view(1, 1))
            other = kl_divergence(posterior, Normal(float(center), deviation))
            yield {
                "mean": mean,
                "deviation": spread,
                "nearest": float(found),
                "torch": float(other),
                "bound": float(found) + math.log(levels),
                "whole": quadrature(posterior, prior),
                "drawn": _drawn(posterior, prior),
            }


def mixture(deviation: float, levels: int) -> MixtureSameFamily:
    """The prior of one dimension, equation 25: equal shares about 0 .. levels - 1."""
    centers = torch.arange(levels, dtype=torch.float64)
    return MixtureSameFamily(Categorical(torch.ones(levels)), Normal(centers, torch.full_like(centers, deviation)))


def quadrature(posterior: Normal, prior: MixtureSameFamily) -> float:
    """The divergence of a posterior of one dimension from a prior by the trapezoidal rule."""
    z = posterior.mean + posterior.stddev * torch.linspace(-_FAR, _FAR, _POINTS, dtype=torch.float64)
    values = _excess(posterior, prior, z) * _density(posterior, z)
    return float(torch.trapezoid(values, z))


def _drawn(posterior: Normal, prior: MixtureSameFamily) -> float:
    noise = torch.randn(_DRAWS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float(_excess(posterior, prior, posterior.mean + posterior.stddev * noise).mean())


def _density(distribution: Any, z: Tensor) -> Tensor:
    found: Tensor = distribution.log_prob(z).exp()
    return found


def _excess(posterior: Any, prior: Any, z: Tensor) -> Tensor:
    found: Tensor = posterior.log_prob(z) - prior.log_prob(z)
    return found
