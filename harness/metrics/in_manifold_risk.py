"""Risk along the data's manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.rank import wilson
from harness.risks import flags
from harness.types import Interval, Threat


@dataclass(frozen=True)
class InManifoldRisk:
    """Share of test inputs lost to an attack that stays on the manifold.

    At the headline's epsilon; from below, as it is found by attack. Source: Zhang et al. 2024, definitions 2 to 4.
    """

    higher_is_better: ClassVar[bool] = False

    def __call__(self, outcomes: pd.DataFrame, headline: Threat) -> Interval | None:
        """None where no attack of the grid tells it."""
        table = flags(outcomes, headline)
        if table is None or "in_manifold" not in table:
            return None
        return wilson(float(table["in_manifold"].sum()), len(table))
