"""Tu et al. 2023, section 2.2: samplers of a diffusion model at equal evaluations, and log-densities by chain ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geometry.manifolds._denoised import DenoisedManifold
from harness.progress import steps
from harness.spec import build
from harness.types import Spec, Split
from leaderboard.papers._tu_chains import on_normal_data, on_points
from leaderboard.papers._tu_points import orders, sampled, samples, shapes

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_DRAWN = 1000  # points of a picture


@dataclass(frozen=True)
class TuPoints:
    """DDPM, DDIM and Runge-Kutta at equal evaluations, and the density of points by chain ratios (Tu et al. 2023, 2.2).

    model: a diffusion, trained here on `points` of a Swiss roll. evaluations: of the denoiser, where samplers of `samples`
    points are compared with fresh data, `repeats` times; orders: where the order is measured on normal data. strides: of
    chains with 1,000 times (100 in the paper) on `chained` points of each shape, in `rounds` of noise (100).
    """

    parts: tuple[tuple[str, Spec], ...] = (
        (
            "model",
            Spec.of("manifold", "diffusion", dim=1, width=32, epochs=500, batch_size=512, learning_rate=3e-3),
        ),
    )
    points: int = 10_000
    evaluations: tuple[int, ...] = (8, 20, 40, 80, 200, 400)
    orders: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    samples: int = 2000
    repeats: int = 3
    strides: tuple[int, ...] = (1, 10, 50)
    chained: int = 200
    rounds: int = 20

    def __post_init__(self) -> None:
        if min((*self.evaluations, *self.orders)) < 4:
            raise ValueError("Runge-Kutta takes four evaluations a step; give evaluations and orders of 4 or more")
        if not self.strides or min(self.strides) < 1 or max(self.strides) > 1000:
            raise ValueError(f"strides lie in 1 .. 1000, not {self.strides}")
        if min(self.chained, self.rounds, self.samples) < 2:
            raise ValueError("tu_points takes two points, rounds and samples at least")

    def run(self) -> Tables:
        """`orders`, `samples`, `clouds` for pictures, `chain_normal` and `chain_points`."""
        trained = shapes(self.points, 0)["swiss_roll"]
        model = self._model(trained)
        chained = {name: 2 * x - 1 for name, x in shapes(self.chained, 1).items()}

        def fresh(repeat: int) -> Tensor:
            return 2 * shapes(self.samples, 100 + repeat)["swiss_roll"] - 1

        return {
            "orders": list(orders(self.orders)),
            "samples": list(samples(model, fresh, self.samples, self.evaluations, self.repeats)),
            "clouds": self._clouds(model, fresh(0)),
            "chain_normal": list(on_normal_data(self.strides)),
            "chain_points": list(on_points(model, 2 * trained[: self.chained] - 1, chained, self.strides, self.rounds)),
        }

    def _model(self, x: Tensor) -> DenoisedManifold:
        part = build(dict(self.parts)["model"])
        number = torch.zeros(len(x), dtype=torch.int64)
        found: DenoisedManifold = part.load(part.fit(Split(x, number, number, 1, None)))
        return found

    def _clouds(self, model: DenoisedManifold, fresh: Tensor) -> list[Row]:
        """Points of each sampler and number of evaluations from the same noise, and of the data."""
        noise = torch.randn(_DRAWN, 2, generator=torch.Generator().manual_seed(0))
        rows = [{"sampler": "data", "evaluations": 0, "points": _rounded(fresh[:_DRAWN])}]
        pairs = [(name, count) for name in ("ddpm", "ddim", "rk4") for count in self.evaluations]
        for name, count in steps(pairs, "clouds"):
            points = sampled(model.noise, noise, name, count)
            rows.append({"sampler": name, "evaluations": count, "points": _rounded(points)})
        return rows


def _rounded(x: Tensor) -> list[list[float]]:
    return [[round(value, 3) for value in row] for row in x.tolist()]
