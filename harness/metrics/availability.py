"""Clean inputs that an attacker cannot get rejected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import mean_interval
from harness.types import Interval, Threat


@dataclass(frozen=True)
class Availability:
    """Share of clean inputs, right and accepted, that stay accepted under the attack `availability` at the headline."""

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None where nobody tried."""
        rows = outcomes[(outcomes["cell"] == "availability") & outcomes["attacked"] & outcomes["valid"]]
        if not len(rows):
            return None
        return mean_interval(rows["accepted"].astype(float).groupby(rows["index"]).mean().to_numpy())
