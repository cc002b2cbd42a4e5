"""Points in the plane for the diffusion model of Tu et al. 2023, its samplers at equal numbers of evaluations, and distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from geometry.manifolds._denoised import DenoisedManifold
from geometry.manifolds._denoising import (
    Denoiser,
    Step,
    ancestral_step,
    ddim_step,
    gaussian_denoiser,
    levels,
    runge_kutta_step,
    walk,
)

Row = dict[str, Any]

SPREAD = 0.02  # of the noise about a shape, in the units of [-1, 1]
_DIRECTIONS = 100
_FINE = 400  # steps of Runge-Kutta that stand for the exact solution
_BEGIN = 5.0  # the noise's deviation in units of the image, from which walks go down in equal steps where orders are measured
_GAUSSIAN = (0.25, 0.5, 2.0)  # variances of the data there


def shapes(number: int, seed: int) -> dict[str, Tensor]:
    """Swiss roll, circle, moons and S in [0, 1]^2, (number, 2) float32 each, with equal noise about all."""
    from sklearn.datasets import make_moons, make_s_curve, make_swiss_roll

    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(number, generator=generator)
    roll = torch.from_numpy(make_swiss_roll(number, random_state=seed)[0])[:, [0, 2]] / 15
    moons = (torch.from_numpy(make_moons(number, random_state=seed)[0]) - torch.tensor([0.5, 0.25])) / 1.6
    letter = torch.from_numpy(make_s_curve(number, random_state=seed)[0])[:, [0, 2]] / 2.2
    found = {
        "swiss_roll": roll,
        "circle": 0.7 * torch.stack([angle.cos(), angle.sin()], 1),
        "moons": moons,
        "s_curve": letter,
    }
    return {
        name: (0.5 + 0.5 * (x.float() + SPREAD * torch.randn(x.shape, generator=generator))).clamp(0, 1)
        for name, x in found.items()
    }


def sliced_wasserstein(x: Tensor, other: Tensor) -> float:
    """Mean over directions of the Wasserstein-1 distance of projections of equally many points (N, D)."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(x.shape[1], _DIRECTIONS, generator=generator).to(x)
    directions = directions / directions.norm(dim=0)
    return float(((x @ directions).sort(0).values - (other @ directions).sort(0).values).abs().mean())


def sampled(denoiser: Denoiser, noise: Tensor, sampler: str, evaluations: int) -> Tensor:
    """What a sampler makes of noise (N, D) in so many evaluations of the denoiser; raises ValueError for other samplers."""
    generator = torch.Generator().manual_seed(1)

    def fresh(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator).to(x)

    samplers: dict[str, tuple[Step, int]] = {
        "ddpm": (ancestral_step(fresh), 1),
        "ddim": (ddim_step, 1),
        "rk4": (runge_kutta_step, 4),
    }
    if sampler not in samplers:
        raise ValueError(f"samplers are {', '.join(samplers)}, not {sampler!r}")
    step, each = samplers[sampler]
    with torch.no_grad():
        return walk(denoiser, noise, levels(1.0, max(1, evaluations // each)), step)


def orders(evaluations: Sequence[int]) -> Iterator[Row]:
    """Largest error of DDIM and RK4 at equal evaluations on normal data, whose solution is known, and its slope.

    sqrt(V_s / V_t) x_t with V = abar v + 1 - abar; the order is minus the slope of log error against log evaluations
    from each number to the next.
    """
    spread = torch.tensor(_GAUSSIAN, dtype=torch.float64)
    x, denoiser = torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None].expand(-1, 3), gaussian_denoiser(spread)
    steps: dict[str, tuple[Step, int]] = {"ddim": (ddim_step, 1), "rk4": (runge_kutta_step, 4)}
    for name, (step, each) in steps.items():
        before: tuple[int, float] | None = None
        for number in evaluations:
            shares = [
                1 / (1 + s**2) for s in torch.linspace(_BEGIN, 0, number // each + 1, dtype=torch.float64).tolist()
            ]
            true = x * (spread / (shares[0] * spread + 1 - shares[0])).sqrt()
            error = float((walk(denoiser, x, shares, step) - true).abs().max())
            order = None if before is None else -math.log(error / before[1]) / math.log(number / before[0])
            yield {"sampler": name, "evaluations": number, "error": error, "order": order}
            before = number, error


def samples(
    model: DenoisedManifold, fresh: Callable[[int], Tensor], number: int, evaluations: Sequence[int], repeats: int
) -> Iterator[Row]:
    """Rows of sampler and evaluations: sliced Wasserstein distance from fresh data, and how far each point's end is off.

    fresh(repeat) gives (number, 2) data in [-1, 1]; off: root mean square distance from the end of a fine walk from the same
    noise, which DDPM has none of. The last rows are the distance between two sets of data.
    """
    noises = [torch.randn(number, 2, generator=torch.Generator().manual_seed(place)) for place in range(repeats)]
    fine = [sampled(model.noise, noise, "rk4", 4 * _FINE) for noise in noises]
    for sampler in ("ddpm", "ddim", "rk4"):
        for count in evaluations:
            ends = [sampled(model.noise, noise, sampler, count) for noise in noises]
            far = [sliced_wasserstein(end, fresh(place)) for place, end in enumerate(ends)]
            off = [float((end - exact).square().sum(1).mean().sqrt()) for end, exact in zip(ends, fine, strict=True)]
            yield {"sampler": sampler, "evaluations": count, **_spread(far)} | (
                {} if sampler == "ddpm" else {"off": sum(off) / repeats}
            )
    floor = [sliced_wasserstein(fresh(place), fresh(repeats + place)) for place in range(repeats)]
    yield {"sampler": "fresh data", "evaluations": 0, **_spread(floor)}


def _spread(values: Sequence[float]) -> Row:
    return {"distance": sum(values) / len(values), "least": min(values), "most": max(values)}
