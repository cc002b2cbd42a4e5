"""Evidence of an input under a variational autoencoder, which several detectors read."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Tensor

from geometry.manifolds._variational import Divergence, log_likelihood

POINT = -30.0  # log-variance of a normal distribution that is next to a point


class EvidenceModel(Protocol):
    """A decoder with normal pixels, a prior on codes, and an encoder's guess of their posterior."""

    @property
    def dim(self) -> int: ...

    @property
    def deviation(self) -> float: ...

    @property
    def divergence(self) -> Divergence: ...

    def posterior(self, x: Tensor, /) -> tuple[Tensor, Tensor]: ...

    def decode(self, z: Tensor, /) -> Tensor: ...


def shows_evidence(model: object, part: str) -> EvidenceModel:
    """The model; raises TypeError unless it is a variational autoencoder."""
    if all(hasattr(model, name) for name in ("elbo", "posterior", "decode", "deviation", "divergence")):
        return cast("EvidenceModel", model)
    raise TypeError(
        f"{part} reads the evidence of a variational autoencoder, and {type(model).__name__} has no elbo and posterior; "
        "give the model variational_autoencoder or grid_vae"
    )


def log_evidence(model: EvidenceModel, x: Tensor, noise: Tensor) -> Tensor:
    """Importance-weighted bound of the log-evidence in nats: (B, *S), noise (M, d) shared by all inputs -> (B,).

    Source: Burda et al. 2016, "Importance weighted autoencoders", equation 8.
    """
    mean, log_variance = model.posterior(x)
    weights = []
    for row in noise.to(mean):
        z = mean + (0.5 * log_variance).exp() * row
        guessed = -0.5 * (row.square() + log_variance + math.log(2 * math.pi)).sum(1)
        weights.append(fidelity(model, x, z) + log_prior(model, z) - guessed)
    return torch.logsumexp(torch.stack(weights), 0) - math.log(len(noise))


def bound(model: EvidenceModel, x: Tensor, noise: Tensor, *, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean evidence lower bound of inputs (B, *S) with posteriors (B, d) over noise (M, d): (B,)."""
    deviation = (0.5 * log_variance).exp()
    found = [fidelity(model, x, mean + deviation * row) for row in noise.to(mean)]
    return torch.stack(found).mean(0) - model.divergence(mean, log_variance)


def fidelity(model: EvidenceModel, x: Tensor, z: Tensor) -> Tensor:
    """Log-density of inputs (B, *S) about the decoder's images of codes (B, d): (B,)."""
    return log_likelihood(x.flatten(1), model.decode(z).flatten(1), model.deviation)


def log_prior(model: EvidenceModel, z: Tensor) -> Tensor:
    """Log-density of codes (B, d) under the prior, from its divergence of a normal distribution next to a point: (B,)."""
    entropy = 0.5 * z.shape[1] * (1 + math.log(2 * math.pi) + POINT)
    return -model.divergence(z, torch.full_like(z, POINT)) - entropy
