"""Risk across the data's manifold at points nearby."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import wilson
from harness.risks import flags
from harness.types import Interval, Threat


@dataclass(frozen=True)
class NearbyNormalRisk:
    """Share of test inputs lost along the normal of a point nearby, and neither along its own nor on the manifold within 2 epsilon.

    At the headline's epsilon; from below, as it is found by attack. Source: Zhang et al. 2024, definitions 2 to 4.
    """

    higher_is_better: ClassVar[bool] = False

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None where no attack of the grid tells it."""
        table = flags(outcomes, headline)
        if table is None or "nearby_normal" not in table:
            return None
        return wilson(float(table["nearby_normal"].sum()), len(table))
