"""Robust accuracy where rejecting an attacked input is a loss too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from harness.rank import counted, mean_interval
from harness.types import Interval, Threat

_CELL = ["index", "cell", "attack", "epsilon", "knowledge", "check"]


@dataclass(frozen=True)
class StrictAccuracy:
    """Share of test inputs right and accepted when clean and on every attacked version of the headline threat."""

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject, as it is their robust accuracy.

        Of a system that draws numbers the worst attack on an input is chosen on selection draws and counted on the others.
        """
        rows = outcomes[(counted(outcomes, headline) & outcomes["valid"]) | (outcomes["cell"] == "clean")]
        if not outcomes.attrs.get("rejects", False) or not bool((rows["cell"] == "attack").any()):
            return None
        inputs = np.unique(rows.loc[rows["cell"] == "attack", "index"])
        rows = rows[rows["attacked"] | (rows["cell"] == "clean")]
        if rows["draw"].max() == 0:
            return mean_interval(_kept(rows).groupby(level="index").min().reindex(inputs).to_numpy())
        chosen = _kept(rows[rows["role"] == "select"]).groupby(level="index").idxmin().reindex(inputs)
        return mean_interval(_kept(rows[rows["role"] == "score"]).reindex(list(chosen)).to_numpy())


def _kept(rows: pd.DataFrame) -> pd.Series:
    """The share of draws in which an input is right and accepted, by input and attack; clean inputs are one."""
    kept = ((rows["prediction"] == rows["label"]) & rows["accepted"]).astype(float)
    return kept.groupby([rows[name] for name in _CELL]).mean()
