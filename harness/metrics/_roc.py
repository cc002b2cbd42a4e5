"""Receiver operating characteristic from margins of clean and of attacked, misclassified inputs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from harness.rank import Z, counted, wilson
from harness.types import Interval, Knowledge, Threat

Array = np.ndarray[Any, Any]
_CELL = ["attack", "epsilon", "knowledge", "check"]
KNOWLEDGE: tuple[Knowledge, ...] = ("adaptive", "oblivious")
RATES = np.unique(np.round(np.concatenate([np.geomspace(0.001, 1, 31), [0.01, 0.05, 0.1]]), 6))


def margins(outcomes: pd.DataFrame, threat: Threat) -> tuple[Array, Array] | None:
    """Clean margins (n,) and, for the same inputs, the lowest margin among misclassified attacked ones (n,).

    Only inputs that some attack of the threat got misclassified (accepted or not); None below ten of them. Of a system
    that draws numbers the attack with the lowest mean is chosen on selection draws, and both margins are of one fresh pass.
    """
    if not outcomes.attrs.get("rejects", False):
        return None
    attacked = outcomes[counted(outcomes, threat) & outcomes["valid"]]
    wrong, clean = attacked[attacked["prediction"] != attacked["label"]], outcomes[outcomes["cell"] == "clean"]
    if len(attacked) and attacked["draw"].max() > 0:
        fresh = attacked.loc[attacked["role"] == "score", "draw"].min()
        wrong, clean = _chosen(wrong, fresh), clean[clean["draw"] == fresh]
    lowest = wrong.groupby("index")["margin"].min()
    if len(lowest) < 10:
        return None
    finite = np.nan_to_num(lowest.to_numpy(dtype=float), neginf=-1e9, posinf=1e9)
    return clean.groupby("index")["margin"].mean().reindex(lowest.index).to_numpy(dtype=float), finite


def _chosen(wrong: pd.DataFrame, fresh: int) -> pd.DataFrame:
    """In one fresh draw, the rows of the attack that has the lowest mean margin on an input's selection draws."""
    select = wrong[wrong["role"] == "select"]
    mean = select.groupby([*_CELL, "index"], as_index=False)["margin"].mean()
    best = mean.loc[mean.groupby("index")["margin"].idxmin(), [*_CELL, "index"]]
    return wrong[wrong["draw"] == fresh].merge(best, on=[*_CELL, "index"])


def auroc(clean: Array, attacked: Array) -> float:
    """Probability that an attacked input scores above a clean one, ties half: the area under the curve."""
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, attacked, side="left")
    level = np.searchsorted(ordered, attacked, side="right")
    return float(((below + level) / 2).mean() / len(clean))


def curve(clean: Array, attacked: Array, rates: Array) -> list[dict[str, float]]:
    """True-positive rate with Wilson's 95 % interval at false-positive rates; none below one clean input.

    The threshold at a rate is the lowest that rejects no larger share of the clean inputs.
    """
    ordered = np.sort(clean)
    points = []
    for rate in rates:
        rejected = int(rate * len(ordered) + 1e-9)
        if rejected == 0:
            continue
        threshold = ordered[len(ordered) - rejected - 1] if rejected < len(ordered) else -math.inf
        found = wilson(float((attacked > threshold).sum()), len(attacked))
        points.append({"fpr": float(rate), "tpr": found.value, "low": found.low, "high": found.high})
    return points


def curves(outcomes: pd.DataFrame, headline: Threat) -> list[dict[str, Any]]:
    """The characteristic of a detector at the headline's ball, for each kind of attacker; empty for other systems."""
    found = []
    for knowledge in KNOWLEDGE if headline.knowledge == "adaptive" else KNOWLEDGE[1:]:
        threat = Threat(headline.norm, headline.epsilon, knowledge)
        known = margins(outcomes, threat)
        if known is not None:
            found.append({**asdict(threat), "inputs": len(known[0]), "points": curve(*known, RATES)})
    return found


def area_interval(area: float, first: int, second: int) -> Interval:
    """An area between so many inputs on either side, with its 95 % interval (Newcombe 2006, part 2, method 5).

    Its ends are the areas from which the one found lies 1.96 of their own standard errors away (those of Hanley and
    McNeil 1982, eq. 1, for exponential scores), so that an area of 1 between few inputs is not taken for certain.
    """

    def end(far: float) -> float:
        near = area
        for _ in range(60):
            middle = (near + far) / 2
            inside = abs(area - middle) <= Z * _deviation(middle, first, second)
            near, far = (middle, far) if inside else (near, middle)
        return near

    return Interval(area, end(0.0), end(1.0))


def _deviation(area: float, first: int, second: int) -> float:
    """Standard error of an area, the same whichever side is the larger one."""
    number = (first + second) / 2 - 1
    shared = number * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(max(0.0, area * (1 - area) * (1 + shared) / (first * second)))
