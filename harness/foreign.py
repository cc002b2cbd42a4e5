"""How well a system's score tells shifted and foreign inputs from clean ones, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.rank import mean_interval, wilson
from harness.types import Interval

Array = np.ndarray[Any, Any]
RESAMPLES = 500
TOGETHER = 1 << 22  # numbers of resampled weights that are held together
KEPT = 0.95
_SLACK = 1e-9  # of shares that are sums of weights


def shifts(outcomes: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each shift: what is accepted, and how well the score separates it from clean inputs (see FIGURES)."""
    clean = outcomes[outcomes["cell"] == "clean"]
    rows = []
    for name, cell in outcomes[outcomes["cell"].str.startswith("shift ")].groupby("cell", sort=False):
        row: dict[str, Any] = {"name": str(name).removeprefix("shift ")}
        accepted = cell.groupby("index")["accepted"].mean().to_numpy(dtype=float)
        row["accepted"] = asdict(mean_interval(accepted))
        if outcomes.attrs["rejects"]:
            row |= {figure: asdict(found) for figure, found in separation(_scores(clean), _scores(cell)).items()}
            known, score = clean["margin"].to_numpy(dtype=float), cell["margin"].to_numpy(dtype=float)
            for rate in (0.01, 0.05):
                threshold = np.quantile(known, 1 - rate, method="higher")
                row[f"tpr_at_{100 * rate:g}"] = asdict(wilson(float((score > threshold).sum()), len(score)))
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Scores:
    """Scores (n,), and which input (0 .. inputs - 1) each is of: random systems give several an input."""

    values: Array
    owner: Array

    @property
    def inputs(self) -> int:
        return int(self.owner.max()) + 1

    def weights(self, draws: Array) -> Array:
        """The weight of each score where an input counts so often: (R, inputs) -> (R, n)."""
        return (draws / np.bincount(self.owner))[:, self.owner]


def _scores(rows: pd.DataFrame) -> Scores:
    values = rows["margin"].to_numpy(dtype=float)
    return Scores(np.nan_to_num(values, nan=-np.inf), np.unique(rows["index"].to_numpy(), return_inverse=True)[1])


@dataclass(frozen=True)
class Curves:
    """Shares of foreign and clean inputs that score at least each value, from the largest value on: (R, values) each."""

    detected: Array
    rejected: Array


def separation(clean: Scores, foreign: Scores, *, seed: int = 0) -> dict[str, Interval]:
    """Every one of FIGURES, with the 2.5 and 97.5 % quantiles over RESAMPLES of the inputs of either side, seeded."""
    generator = np.random.default_rng(seed)
    size = max(1, TOGETHER // (len(clean.values) + len(foreign.values)))
    once = [np.ones((1, side.inputs)) for side in (clean, foreign)]
    (point,) = _figures(clean, foreign, *once)
    found = []
    for start in range(0, RESAMPLES, size):
        number = min(size, RESAMPLES - start)
        draws = [generator.multinomial(s.inputs, np.full(s.inputs, 1 / s.inputs), number) for s in (clean, foreign)]
        found.append(_figures(clean, foreign, *draws))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975], axis=0)
    return {
        name: Interval(float(value), float(a), float(b))
        for name, value, a, b in zip(FIGURES, point, low, high, strict=True)
    }


def _figures(clean: Scores, foreign: Scores, clean_draws: Array, foreign_draws: Array) -> Array:
    """All figures of so many resamples: (R, figures)."""
    values = np.concatenate([clean.values, foreign.values])
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(values[order][1:] != values[order][:-1], True))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))

    def reached(side: Scores, draws: Array, places: Array) -> Array:
        weights = np.zeros((len(draws), len(values)))
        weights[:, places] = side.weights(draws)
        return np.cumsum(weights, axis=1)[:, ends] / side.inputs

    detected = reached(foreign, foreign_draws, place[len(clean.values) :])
    rejected = reached(clean, clean_draws, place[: len(clean.values)])
    curves = Curves(detected, rejected)
    return np.stack([figure(curves) for figure in FIGURES.values()], axis=1)


def _auroc(curves: Curves) -> Array:
    """The area under detected over rejected, by trapezoids: ties count half."""
    before = np.pad(curves.detected[:, :-1], ((0, 0), (1, 0)))
    area: Array = ((curves.detected + before) / 2 * np.diff(curves.rejected, axis=1, prepend=0)).sum(1)
    return area


def _aupr(curves: Curves) -> Array:
    """Average precision, foreign inputs being the positives and as many as clean ones, whatever their numbers."""
    precision = curves.detected / np.maximum(curves.detected + curves.rejected, 1e-300)
    area: Array = (precision * np.diff(curves.detected, axis=1, prepend=0)).sum(1)
    return area


def _foreign_accepted(curves: Curves) -> Array:
    """The least share of foreign inputs accepted at a threshold that accepts 95 % of clean ones at least."""
    allowed = curves.rejected <= 1 - KEPT + _SLACK
    detected: Array = np.where(allowed, curves.detected, 0).max(1)
    return 1 - detected


def _clean_rejected(curves: Curves) -> Array:
    """The least share of clean inputs rejected at a threshold that rejects 95 % of foreign ones at least."""
    enough = curves.detected >= KEPT - _SLACK
    rejected: Array = np.where(enough, curves.rejected, 1).min(1)
    return rejected


FIGURES: dict[str, Callable[[Curves], Array]] = {
    "auroc": _auroc,
    "aupr": _aupr,
    "foreign_accepted": _foreign_accepted,
    "clean_rejected": _clean_rejected,
}
