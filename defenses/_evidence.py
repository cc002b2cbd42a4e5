"""Evidence of an input under a variational autoencoder, or its density under a diffusion model, which several detectors read."""

from __future__ import annotations

import math
from typing import Protocol, TypeGuard, cast

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


class DensityModel(Protocol):
    """A diffusion model of inputs of a shape, with a log-density estimated with random signs."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def noise(self, x: Tensor, kept: float, /) -> Tensor: ...

    def log_density(self, x: Tensor, probes: Tensor, /, *, steps: int = 10) -> Tensor: ...


Likely = EvidenceModel | DensityModel


def has_density(model: object) -> TypeGuard[DensityModel]:
    """Whether it is a diffusion model."""
    return all(hasattr(model, name) for name in ("noise", "log_density", "shape"))


def shows_likelihood(model: object, part: str) -> Likely:
    """The model; raises TypeError unless it is a variational autoencoder or a diffusion model."""
    return model if has_density(model) else shows_evidence(model, part)


def likelihood_noise(model: Likely, samples: int) -> Tensor:
    """What `log_likelihoods` needs: codes (samples, d), or signs (samples, *S) and a last row, uniform in [0, 1)."""
    if has_density(model):
        return torch.cat([2.0 * torch.randint(2, (samples, *model.shape)) - 1, torch.rand(1, *model.shape)])
    return torch.randn(samples, cast("EvidenceModel", model).dim)


def log_likelihoods(model: Likely, x: Tensor, noise: Tensor, *, steps: int) -> Tensor:
    """The log-evidence, or the log-density of the image between its grey levels by so many steps, in nats: (B, *S) -> (B,).

    The latter has no gradient. The noise is the same for all inputs.
    """
    if not has_density(model):
        return log_evidence(cast("EvidenceModel", model), x, noise)
    noise = noise.to(x)
    probes = noise[:-1, None].expand(-1, len(x), *noise.shape[1:])
    return model.log_density((255 * x.detach() + noise[-1]) / 256, probes, steps=steps)


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
