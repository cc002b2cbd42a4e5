"""Accuracy in the worst case over all attacks of the headline threat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import counted, robustness
from harness.types import Interval, Threat


@dataclass(frozen=True)
class RobustAccuracy:
    """Share of test inputs right and accepted when clean and never found wrong and accepted under the headline threat."""

    higher_is_better: ClassVar[bool] = True

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """Worst case per input, over all attacked inputs; None where nothing attacked at the headline."""
        return robustness(outcomes, headline).interval if bool(counted(outcomes, headline).any()) else None
