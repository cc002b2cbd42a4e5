"""Accuracy on clean inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import mean_interval
from harness.types import Interval, Threat


@dataclass(frozen=True)
class CleanAccuracy:
    """Share of clean test inputs that are right and accepted."""

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """Over every clean input observed; for random systems the mean over draws."""
        clean = outcomes[outcomes["cell"] == "clean"]
        held = (clean["prediction"] == clean["label"]) & clean["accepted"]
        return mean_interval(held.astype(float).groupby(clean["index"]).mean().to_numpy()) if len(clean) else None
