"""A segment of a line in the plane, about which a strip of inputs lies."""

from __future__ import annotations

from dataclasses import dataclass

from geometry.manifolds._closed_form import ClosedForm
from geometry.manifolds._flat_box import flat_box
from geometry.manifolds._rows import Data, State


@dataclass(frozen=True)
class Strip:
    """The segment low <= x1 <= high at x2 = height in R^2, of dimension 1.

    Beyond its ends the nearest point is an end. Zhang et al. 2024, theorem 2 and figure 2: from 0 to 1 at height 0.
    """

    low: float = 0.0
    high: float = 1.0
    height: float = 0.0

    def fit(self, data: Data | None = None) -> State:
        """Nothing is learnt from data: an empty state."""
        return {}

    def load(self, state: State) -> ClosedForm:
        """The segment; raises ValueError unless low < high and all three are finite."""
        return flat_box(1, 2, low=self.low, high=self.high, height=self.height)
