"""Detection under attack at a false-positive rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from harness.metrics._roc import curve, margins
from harness.types import Interval, Threat


@dataclass(frozen=True)
class TruePositiveRate:
    """Share of misclassified attacked inputs above the score that `rate` of all clean test inputs exceed."""

    rate: float = 0.05

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject, or where fewer than ten inputs are misclassified.

        The threshold is the lowest that rejects no larger share of the clean inputs, as in the curve.
        """
        found = margins(outcomes, headline)
        if found is None:
            return None
        clean = outcomes[outcomes["cell"] == "clean"]["margin"].to_numpy(dtype=float)
        points = curve(clean, found[1], np.array([self.rate]))
        return Interval(points[0]["tpr"], points[0]["low"], points[0]["high"]) if points else None
