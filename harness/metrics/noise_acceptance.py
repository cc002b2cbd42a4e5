"""Inputs with harmless noise that are accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import mean_interval
from harness.shifts.uniform_noise import UniformNoise
from harness.types import Interval, Threat


@dataclass(frozen=True)
class NoiseAcceptance:
    """Share of clean inputs with uniform noise of a quarter of the headline's epsilon that are accepted."""

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject, and where the noise was not tried."""
        quarter = headline.epsilon / 4
        names = [f"shift uniform_noise(epsilon={quarter:g})"]
        if math.isclose(quarter, UniformNoise.epsilon):
            names.append("shift uniform_noise")
        rows = outcomes[outcomes["cell"].isin(names)] if headline.norm == "linf" else outcomes[:0]
        if not len(rows) or not outcomes.attrs.get("rejects", False):
            return None
        return mean_interval(rows["accepted"].astype(float).groupby(rows["index"]).mean().to_numpy())
