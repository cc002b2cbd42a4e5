"""Log-densities of a denoising diffusion model: by ratios along a noisy trajectory, and by the probability-flow equation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geometry.manifolds._denoising import Denoiser, deviation, mean, noised, runge_kutta, variance


@torch.no_grad()
def chain_log_density(
    denoiser: Denoiser, x: Tensor, shares: list[float], noises: Tensor, *, spread: Tensor | float
) -> Tensor:
    """Log-density in nats of images (B, D) by one trajectory each with noises (len(shares) - 1, B, D): (B,).

    shares: kept, the noisiest first, the last 1 or near to it. spread: the data's variance, one or for each direction (D,);
    exact for every trajectory where the data are normal, else a lower bound on average. Raises ValueError where the last
    variance would be 0 (spread = 0, and the last share 1). Source: Tu et al. 2023, equation 23.
    """
    if shares[-1] == 1 and not bool((torch.as_tensor(spread) > 0).all()):
        raise ValueError("without spread the last step has no variance; let the shares end below 1")
    total, later = torch.zeros(len(x)).to(x), x
    for place in range(len(shares) - 1, 0, -1):
        kept_s, kept_t = shares[place], shares[place - 1]
        now, later = later, noised(later, noises[place - 1], kept_s, kept_t)
        forward = math.sqrt(kept_t / kept_s) * now
        backward = mean(later, denoiser(later, kept_t), kept_s, kept_t)
        total += _normal(now, backward, variance(kept_s, kept_t, torch.as_tensor(spread).to(x)))
        total -= _normal(later, forward, torch.tensor(1 - kept_t / kept_s).to(x))
    return total + _normal(later, torch.zeros_like(later), torch.ones(()).to(x))


def flow_log_density(denoiser: Denoiser, x: Tensor, shares: list[float], probes: Tensor) -> Tensor:
    """Log-density in nats of images (B, *S) by Runge-Kutta steps between the shares kept, the last of them 1: (B,).

    probes (k, B, *S): the divergence is the mean of probe^T J probe, exact for the unit vectors times the square root of
    their number. Source: Song et al. 2021, "Score-based generative modeling through SDEs", section 4.3.
    """
    scale = torch.zeros(len(x), 1).to(x)
    state = torch.cat([x.flatten(1), scale], 1)

    def slope(given: Tensor, spread: float) -> Tensor:
        kept = 1 / (1 + spread**2)
        noise, trace = _with_trace(denoiser, math.sqrt(kept) * given[:, :-1].view_as(x), kept, probes)
        return torch.cat([noise.flatten(1), math.sqrt(kept) * trace[:, None]], 1)

    spreads = [deviation(kept) for kept in shares]
    for start, end in zip(spreads[:0:-1], spreads[-2::-1], strict=True):
        state = runge_kutta(slope, state, start, end)
    last = math.sqrt(shares[0]) * state[:, :-1]
    unit = torch.ones(()).to(x)
    return _normal(last, torch.zeros_like(last), unit) + 0.5 * last.shape[1] * math.log(shares[0]) + state[:, -1]


def _with_trace(denoiser: Denoiser, x: Tensor, kept: float, probes: Tensor) -> tuple[Tensor, Tensor]:
    """The noise (B, *S) and the estimated trace of its Jacobian (B,)."""
    with torch.enable_grad():
        given = x.detach().requires_grad_()
        noise = denoiser(given, kept)
        trace = torch.zeros(len(x)).to(x)
        for place, probe in enumerate(probes):
            if not noise.requires_grad:  # noise that does not depend on the image
                break
            more = place + 1 < len(probes)
            (back,) = torch.autograd.grad((noise * probe).sum(), given, retain_graph=more)
            trace += (back * probe).flatten(1).sum(1)
    return noise.detach(), trace / len(probes)


def _normal(x: Tensor, center: Tensor, spread: Tensor) -> Tensor:
    """Log-density of rows (B, D) under N(center, spread): (B,)."""
    return -0.5 * ((x - center).square() / spread + (2 * math.pi * spread).log()).sum(1)
