"""Clean inputs that a system rejects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import mean_interval
from harness.types import Interval, Threat


@dataclass(frozen=True)
class FalsePositiveRate:
    """Share of clean test inputs that are rejected, at the threshold set on the calibration part."""

    higher_is_better: ClassVar[bool] = False

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject."""
        clean = outcomes[outcomes["cell"] == "clean"]
        if not len(clean) or not outcomes.attrs.get("rejects", False):
            return None
        return mean_interval((~clean["accepted"]).astype(float).groupby(clean["index"]).mean().to_numpy())
