"""Robust accuracy where rejecting an attacked input is a loss too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from harness.rank import counted, mean_interval
from harness.types import Interval, Threat


@dataclass(frozen=True)
class StrictAccuracy:
    """Share of test inputs right and accepted when clean and on every attacked version of the headline threat."""

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject, as it is their robust accuracy."""
        rows = outcomes[(counted(outcomes, headline) & outcomes["valid"]) | (outcomes["cell"] == "clean")]
        if not outcomes.attrs.get("rejects", False) or not bool((rows["cell"] == "attack").any()):
            return None
        kept = ((rows["prediction"] == rows["label"]) & rows["accepted"]).astype(float)
        cells = [rows["index"], rows["cell"], rows["attack"], rows["epsilon"], rows["knowledge"], rows["check"]]
        worst = kept.groupby(cells).mean().groupby(level=0).min()
        attacked = np.unique(rows.loc[rows["cell"] == "attack", "index"])
        return mean_interval(worst.reindex(attacked).to_numpy())
