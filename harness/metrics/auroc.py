"""Detection under attack, over all thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.metrics._roc import auroc, margins
from harness.rank import Z
from harness.types import Interval, Threat


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC of a detector: misclassified attacked inputs (lowest score found) against their clean ones.

    The interval is that of Hanley and McNeil 1982.
    """

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject, or where fewer than ten inputs are misclassified."""
        found = margins(outcomes, headline)
        if found is None:
            return None
        area, n = auroc(*found), len(found[0])
        first, second = area / (2 - area), 2 * area * area / (1 + area)
        variance = (area * (1 - area) + (n - 1) * (first - area * area) + (n - 1) * (second - area * area)) / (n * n)
        half = Z * math.sqrt(max(variance, 0.0))
        return Interval(area, max(0.0, area - half), min(1.0, area + half))
