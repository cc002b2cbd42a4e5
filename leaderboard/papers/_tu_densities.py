"""Log-densities of images in nats, in units of [0, 1], by the models of Tu et al. 2023: (B, *S) -> (B,) each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from geometry.manifolds._denoised import DenoisedManifold
from geometry.manifolds._denoising import levels
from geometry.manifolds._denoising_density import chain_log_density
from geometry.manifolds._variational import VariationalManifold, log_likelihood
from geometry.manifolds.flow import FlowManifold

Density = Callable[[Tensor], Tensor]

_TOGETHER = 50
_SPREADS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # variances of data that are tried in equation 19
_FEW = 16  # training images that these are tried on
_CODES = 8


def probability_flow(model: DenoisedManifold, x: Tensor, steps: int) -> Tensor:
    """By the probability-flow equation, random signs for each image."""
    generator = torch.Generator().manual_seed(0)
    found = [
        model.log_density(part, torch.randn(1, *part.shape, generator=generator).sign(), steps=steps)
        for part in torch.split(x, _TOGETHER)
    ]
    return torch.cat(found)


def chained(model: DenoisedManifold, train: Tensor, steps: int) -> Density:
    """By equation 23, one trajectory an image, with the variance whose bound on training images is the largest."""
    shares = levels(1.0, steps)

    def bound(x: Tensor, spread: float) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        found = []
        for part in torch.split(2 * x - 1, _TOGETHER):
            noises = torch.randn(steps, len(part), part[0].numel(), generator=generator)
            found.append(chain_log_density(denoiser, part.flatten(1), shares, noises, spread=spread))
        return torch.cat(found) + x[0].numel() * math.log(2)

    def denoiser(x: Tensor, kept: float) -> Tensor:
        return model.noise(x.view(-1, *model.shape), kept).flatten(1)

    tried = {spread: float(bound(train[:_FEW], spread).mean()) for spread in _SPREADS}
    best = max(tried, key=lambda spread: tried[spread])
    return lambda x: bound(x, best)


def parts_of_flow(model: FlowManifold) -> dict[str, Density]:
    """The sums of Figure 2: the codes' noise alone, with the flow's determinant, and with the decoder's volume."""

    def noise(x: Tensor) -> Tensor:
        given = (model.encode(x.float()) - model.center) / model.spread
        found: Tensor = model.flow().base.log_prob(model.flow().transform(given))
        return found

    return {
        "flow, noise": noise,
        "flow, codes": lambda x: model.code_density(model.encode(x.float())),
        "flow, images": lambda x: torch.cat([model.log_density(part) for part in torch.split(x, _TOGETHER)]),
    }


def evidence(model: VariationalManifold, x: Tensor) -> Tensor:
    """The importance-weighted evidence under the prior N(0, I) with codes' noise shared by all images.

    Source: Burda et al. 2016, "Importance weighted autoencoders", equation 8.
    """
    mean, log_variance = model.posterior(x)
    weights = []
    for noise in torch.randn(_CODES, model.dim, generator=torch.Generator().manual_seed(0)):
        z = mean + (0.5 * log_variance).exp() * noise
        ratio = 0.5 * (noise.square() + log_variance - z.square()).sum(1)  # of the prior to the guessed posterior
        weights.append(log_likelihood(x.flatten(1), model.decode(z).flatten(1), model.deviation) + ratio)
    return torch.logsumexp(torch.stack(weights), 0) - math.log(_CODES)
