"""Lift-Map-Detect with few steps against many: areas on the same images, and their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Tables = Mapping[str, Sequence[Mapping[str, Any]]]
RESAMPLES = 2000
_OTHER = ("home", "lift", "steps", "seconds", "distance")


@dataclass(frozen=True)
class Steps:
    """A number of steps: its area, that less the area of the most steps (None for these themselves), and its cost."""

    steps: int
    evaluations: int
    area: Mapping[str, float]
    difference: dict[str, float] | None
    seconds: float


def comparisons(results: Sequence[Tables], *, distance: str = "mse") -> list[Steps]:
    """By number of steps, ascending; the studies have the same images."""
    scores = {row["steps"]: row for result in results for row in result["scores"] if row["distance"] == distance}
    areas: dict[int, Mapping[str, Any]] = {}
    for row in (row for result in results for row in result["areas"] if row["distance"] == distance):
        if row["steps"] not in areas or row["attempts"] > areas[row["steps"]]["attempts"]:
            areas[row["steps"]] = row
    most = max(scores)
    home, foreign = areas[most]["home"], areas[most]["foreign"]
    found = []
    for number in sorted(scores):
        less = None
        if number != most:
            pairs = [(np.array(scores[of][home]), np.array(scores[of][foreign])) for of in (number, most)]
            less = difference(*pairs)
        row = areas[number]
        found.append(Steps(number, row["evaluations"], row["auroc"], less, row["seconds"]))
    return found


def difference(one: tuple[Array, Array], other: tuple[Array, Array], *, seed: int = 0) -> dict[str, float]:
    """The area of one detector less that of another on the same clean and foreign images (n,), (m,), with its interval.

    The 2.5 and 97.5 % quantiles over resamples of the images of either side, the same for both detectors.
    """
    wins = [
        (foreign[None] > clean[:, None]) + 0.5 * (foreign[None] == clean[:, None]) for clean, foreign in (one, other)
    ]
    apart = wins[0] - wins[1]
    generator = np.random.default_rng(seed)
    counts = [generator.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size for size in apart.shape]
    low, high = np.quantile(np.einsum("rn,nm,rm->r", counts[0], apart, counts[1], optimize=True), [0.025, 0.975])
    return {"value": float(apart.mean()), "low": float(low), "high": float(high)}
