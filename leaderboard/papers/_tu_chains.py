"""Log-densities by chain ratios (Tu et al. 2023, equation 23): on normal data, where they are known, and on points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometry.manifolds._denoised import DenoisedManifold
from geometry.manifolds._denoising import gaussian_denoiser, levels
from geometry.manifolds._denoising_density import chain_log_density, flow_log_density
from harness.progress import steps
from leaderboard.papers._tu_scores import ranking

Row = dict[str, Any]

TIMES = 1000  # of the chain with stride 1
_VARIANCES = (0.25, 1.0, 2.0)
_SPREADS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # variances of data that are tried in equation 19
_FLOW_STEPS = 100


def on_normal_data(strides: Sequence[int], *, number: int = 200, rounds: int = 20) -> Iterator[Row]:
    """Rows of a variance and a stride: error of the exact denoiser's chain with its variance, and with that of variance 1.

    bias: mean over inputs and rounds, deviation: over rounds, mean over inputs, in nats.
    """
    generator = torch.Generator().manual_seed(0)
    for variance in _VARIANCES:
        x = math.sqrt(variance) * torch.randn(number, 1, generator=generator, dtype=torch.float64)
        true = -0.5 * (x[:, 0].square() / variance + math.log(2 * math.pi * variance))
        denoiser = gaussian_denoiser(torch.tensor([variance], dtype=torch.float64))
        for stride in strides:
            shares = levels(1.0, TIMES // stride)
            row: Row = {"variance": variance, "stride": stride}
            for name, spread in (("right", variance), ("printed", 1.0)):
                errors = torch.stack(
                    [
                        chain_log_density(denoiser, x, shares, _noises(shares, x, place), spread=spread) - true
                        for place in range(rounds)
                    ]
                )
                row |= {
                    f"{name}_bias": float(errors.mean()),
                    f"{name}_largest": float(errors.abs().max()),
                    f"{name}_deviation": float(errors.std(0).mean()),
                }
            yield row


def on_points(
    model: DenoisedManifold, trained: Tensor, shapes: Mapping[str, Tensor], strides: Sequence[int], rounds: int
) -> Iterator[Row]:
    """Rows of a stride and a shape (N, 2) in [-1, 1]: log10 of the density, mean over points of the mean over rounds.

    The variance of equation 19 is that for data of the variance in _SPREADS whose bound on `trained` is the largest.
    tighter: the log of the mean over rounds. flow: the median by the probability-flow equation, the model's own. auroc: of
    the bound, between the first shape and this one.
    """
    exact = {name: _flow(model, x) for name, x in shapes.items()}
    for stride in steps(list(strides), "chain ratios"):
        shares = levels(1.0, TIMES // stride)
        tried = {spread: float(_chains(model, trained, shares, spread, 2).mean()) for spread in _SPREADS}
        spread = max(tried, key=lambda value: tried[value])
        known: Tensor | None = None
        for name, x in shapes.items():
            found = _chains(model, x, shares, spread, rounds)
            bound, tighter = found.mean(0), found.logsumexp(0) - math.log(rounds)
            known = bound if known is None else known
            yield {
                "stride": stride,
                "shape": name,
                "spread": spread,
                "bound": _log10(bound),
                "deviation": float(found.std(0).mean()) / math.log(10),
                "tighter": _log10(tighter),
                "flow": _log10(exact[name].median()),
                "auroc": None if known is bound else vars(ranking(_array(known), _array(bound))["auroc"]),
                "values": [round(value / math.log(10), 2) for value in bound.tolist()],
            }


def _chains(model: DenoisedManifold, x: Tensor, shares: list[float], spread: float, rounds: int) -> Tensor:
    """Log-densities in nats of points (N, 2), a row for each round: (rounds, N); all rounds go together."""
    together = x.repeat(rounds, 1)
    found = chain_log_density(model.noise, together, shares, _noises(shares, together, 7), spread=spread)
    return found.view(rounds, len(x))


def _flow(model: DenoisedManifold, x: Tensor) -> Tensor:
    probes = math.sqrt(2) * torch.eye(2)[:, None].expand(2, len(x), 2)
    return flow_log_density(model.noise, x, levels(1.0, _FLOW_STEPS), probes)


def _noises(shares: Sequence[float], x: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(shares) - 1, *x.shape, generator=generator, dtype=x.dtype)


def _log10(values: Tensor) -> float:
    return float(values.double().mean()) / math.log(10)


def _array(values: Tensor) -> np.ndarray[Any, Any]:
    return values.double().numpy()
