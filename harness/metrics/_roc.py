"""Receiver operating characteristic from margins of clean and of attacked, misclassified inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.rank import counted
from harness.types import Threat

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
