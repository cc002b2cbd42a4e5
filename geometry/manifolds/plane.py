"""A square piece of a plane in space."""

from __future__ import annotations

from dataclasses import dataclass

from geometry.manifolds._closed_form import ClosedForm
from geometry.manifolds._flat_box import flat_box
from geometry.manifolds._rows import Data, State


@dataclass(frozen=True)
class Plane:
    """The square [-half_width, half_width]^2 about `center` at x3 = height in R^3, of dimension 2.

    Beyond the square the nearest point lies on its edge. Zhang et al. 2024, section 4.1: half_width pi, center 0, height 0.
    """

    half_width: float = 3.141592653589793
    center: float = 0.0
    height: float = 0.0

    def fit(self, data: Data | None = None) -> State:
        """Nothing is learnt from data: an empty state."""
        return {}

    def load(self, state: State) -> ClosedForm:
        """The square; raises ValueError for a half_width that is not positive and for numbers that are not finite."""
        low, high = self.center - self.half_width, self.center + self.half_width
        return flat_box(2, 3, low=low, high=high, height=self.height)
