"""Receiver operating characteristic from margins of clean and of attacked, misclassified inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from harness.rank import Z, counted
from harness.types import Interval, Threat

Array = np.ndarray[Any, Any]


def margins(outcomes: pd.DataFrame, threat: Threat) -> tuple[Array, Array] | None:
    """Clean margins (n,) and, for the same inputs, the lowest margin among misclassified attacked ones (n,).

    Only inputs that some attack of the threat got misclassified (accepted or not); None below ten of them.
    """
    if not outcomes.attrs.get("rejects", False):
        return None
    attacked = outcomes[counted(outcomes, threat) & outcomes["valid"]]
    wrong = attacked[attacked["prediction"] != attacked["label"]]
    lowest = wrong.groupby("index")["margin"].min()
    if len(lowest) < 10:
        return None
    clean = outcomes[outcomes["cell"] == "clean"].groupby("index")["margin"].mean()
    finite = np.nan_to_num(lowest.to_numpy(dtype=float), neginf=-1e9, posinf=1e9)
    return clean.reindex(lowest.index).to_numpy(dtype=float), finite


def auroc(clean: Array, attacked: Array) -> float:
    """Probability that an attacked input scores above a clean one, ties half: the area under the curve."""
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, attacked, side="left")
    level = np.searchsorted(ordered, attacked, side="right")
    return float(((below + level) / 2).mean() / len(clean))


def area_interval(area: float, first: int, second: int) -> Interval:
    """An area between so many inputs on either side, with its 95 % interval (Hanley and McNeil 1982, eq. 1).

    first: of those that should score higher.
    """
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (first - 1) * (one - area * area) + (second - 1) * (two - area * area)
    half = Z * math.sqrt(max(variance, 0.0) / (first * second))
    return Interval(area, max(0.0, area - half), min(1.0, area + half))
