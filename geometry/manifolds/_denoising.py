"""Denoising diffusion in formulas of a denoiser: noise, posterior means and variances, steps back in time.

Images are counted in [-1, 1]. kept is the share of an image's variance that is left, abar in the papers: 1 for the image
itself, 0 for noise alone. A denoiser gives the noise in noisy images, (B, *S) and kept -> (B, *S); s is the time with less
noise, t that with more. Source: Ho et al. 2020, "Denoising diffusion probabilistic models"; Tu et al. 2023, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, float], Tensor]
Step = Callable[[Denoiser, Tensor, float, float], Tensor]  # denoiser, x_t, kept_s, kept_t -> x_s
Number = TypeVar("Number", float, Tensor)

LEAST, GROWTH = 0.1, 19.9  # rate of the noise at time 0, and what is added to it until time 1


def kept_at(time: float) -> float:
    """The share kept at a time in [0, 1], exp(-0.1 t - 9.95 t^2): 1 at 0, 4.3e-5 at 1. Source: Song et al. 2021, VP-SDE."""
    return math.exp(-LEAST * time - 0.5 * GROWTH * time**2)


def time_of(kept: Tensor) -> Tensor:
    """The time at which a share is kept, in [0, 1]."""
    spent = -kept.log()
    return 2 * spent / (LEAST + (LEAST**2 + 2 * GROWTH * spent).sqrt())


def levels(start: float, steps: int) -> list[float]:
    """Shares kept at steps + 1 equally spaced times from `start` back to 0; raises ValueError for a time outside (0, 1]."""
    if not 0 < start <= 1 or steps < 1:
        raise ValueError(f"noise is removed from a time in (0, 1] in one step or more, not from {start} in {steps}")
    return [kept_at(start * (steps - place) / steps) for place in range(steps + 1)]


def noised(x: Tensor, noise: Tensor, kept_s: float, kept_t: float) -> Tensor:
    """x_t from x_s and standard normal noise. Source: Tu et al. 2023, equation 12."""
    kept = kept_t / kept_s
    return math.sqrt(kept) * x + math.sqrt(1 - kept) * noise


def clean(x: Tensor, noise: Tensor, kept: float) -> Tensor:
    """The expected image, given noisy images and the noise that a denoiser finds in them (Tweedie's formula)."""
    return (x - math.sqrt(1 - kept) * noise) / math.sqrt(kept)


def mean(x: Tensor, noise: Tensor, kept_s: float, kept_t: float) -> Tensor:
    """The expected x_s given x_t, exact for steps of any length. Source: Tu et al. 2023, equation 18."""
    kept = kept_t / kept_s
    return (x - (1 - kept) / math.sqrt(1 - kept_t) * noise) / math.sqrt(kept)


def variance(kept_s: float, kept_t: float, spread: Number) -> Number:
    """The variance of x_s given x_t for data of variance `spread` in every direction.

    1 gives the first variance of equation 19 of Tu et al. 2023, 0 (a single point) the second; both are wrong for others.
    """
    before, after = kept_s * spread + 1 - kept_s, kept_t * spread + 1 - kept_t
    return (1 - kept_t / kept_s) * before / after


def ddim_step(denoiser: Denoiser, x: Tensor, kept_s: float, kept_t: float) -> Tensor:
    """x_s from x_t without fresh noise: one Euler step of the probability-flow equation. Source: Song et al. 2021, DDIM."""
    noise = denoiser(x, kept_t)
    return math.sqrt(kept_s) * clean(x, noise, kept_t) + math.sqrt(1 - kept_s) * noise


def ancestral_step(fresh: Callable[[Tensor], Tensor], spread: float = 0.0) -> Step:
    """The DDPM step: the mean of x_s and fresh noise of the variance for data of variance `spread`."""

    def step(denoiser: Denoiser, x: Tensor, kept_s: float, kept_t: float) -> Tensor:
        middle = mean(x, denoiser(x, kept_t), kept_s, kept_t)
        deviation = math.sqrt(variance(kept_s, kept_t, spread))
        return middle + deviation * fresh(x) if deviation > 0 else middle

    return step


def runge_kutta_step(denoiser: Denoiser, x: Tensor, kept_s: float, kept_t: float) -> Tensor:
    """x_s from x_t by the classical method of order 4 on d(x / sqrt(abar)) = noise d(sqrt(1 / abar - 1)), 4 evaluations.

    Source: Tu et al. 2023, section 2.2.
    """
    after, before = deviation(kept_s), deviation(kept_t)
    slope = _slope(denoiser)
    return math.sqrt(kept_s) * runge_kutta(slope, x / math.sqrt(kept_t), before, after)


def deviation(kept: float) -> float:
    """The noise's standard deviation where the image is counted in its own units, sqrt(1 / abar - 1)."""
    return math.sqrt(1 / kept - 1)


def runge_kutta(slope: Callable[[Tensor, float], Tensor], x: Tensor, start: float, end: float) -> Tensor:
    """One classical step of order 4 of dx = slope(x, s) ds from s = start to end."""
    length, middle = end - start, (start + end) / 2
    first = slope(x, start)
    second = slope(x + 0.5 * length * first, middle)
    third = slope(x + 0.5 * length * second, middle)
    last = slope(x + length * third, end)
    return x + length / 6 * (first + 2 * second + 2 * third + last)


def _slope(denoiser: Denoiser) -> Callable[[Tensor, float], Tensor]:
    def slope(x: Tensor, spread: float) -> Tensor:
        kept = 1 / (1 + spread**2)
        return denoiser(math.sqrt(kept) * x, kept)

    return slope


def walk(denoiser: Denoiser, x: Tensor, shares: list[float], step: Step) -> Tensor:
    """Noisy images (B, *S) at the first of the shares kept, step by step to the last."""
    for kept_t, kept_s in pairwise(shares):
        x = step(denoiser, x, kept_s, kept_t)
    return x


def gaussian_denoiser(spread: Tensor, center: Tensor | float = 0.0) -> Denoiser:
    """The exact denoiser of normal data with a covariance matrix (D, D) or variances (D,) about a center (D,)."""

    def denoiser(x: Tensor, kept: float) -> Tensor:
        offset = x - math.sqrt(kept) * center
        if spread.ndim < 2:
            return math.sqrt(1 - kept) * offset / (kept * spread + 1 - kept)
        noisy = kept * spread + (1 - kept) * torch.eye(len(spread)).to(spread)
        found: Tensor = math.sqrt(1 - kept) * torch.linalg.solve(noisy, offset.mT).mT
        return found

    return denoiser
