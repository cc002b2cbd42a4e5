"""How a density ranks foreign inputs against those that it is of."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.foreign import Scores, separation
from harness.rank import wilson
from harness.types import Interval

Array = np.ndarray[Any, Any]


def ranking(home: Array, foreign: Array) -> dict[str, Interval]:
    """Of log-densities (n,) and (m,): `auroc` of minus the density as a score of foreignness, with its bootstrap interval.

    likelier: the share of foreign inputs above the median of those at home, with Wilson's interval. Raises ValueError for
    numbers that are nan.
    """
    if np.isnan(home).any() or np.isnan(foreign).any():
        raise ValueError("log-densities are to be ranked, but some are nan; look for images that the model breaks on")
    sides = [Scores(-values, np.arange(len(values))) for values in (home, foreign)]
    above = float((foreign > np.median(home)).sum())
    return {"auroc": separation(*sides)["auroc"], "likelier": wilson(above, len(foreign))}
