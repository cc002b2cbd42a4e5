"""Detection under attack, over all thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.metrics._roc import area_interval, auroc, margins
from harness.types import Interval, Threat


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC of a detector: misclassified attacked inputs (lowest score found) against their clean ones.

    The interval is that of Newcombe 2006, wide enough for inputs that are paired.
    """

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None for systems that never reject, or where fewer than ten inputs are misclassified."""
        found = margins(outcomes, headline)
        if found is None:
            return None
        number = len(found[0])
        return area_interval(auroc(*found), number, number)
