"""What the source, the target and their pairing contribute to the variance over pairs of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SHARES = ("source", "target", "interaction")


def two_way(values: Array) -> dict[str, float]:
    """Shares of the sum of squares off the diagonal of (targets, sources) that each explains; they add up to 1.

    An additive model of both by least squares; as the diagonal is missing, the two overlap, and each gets the mean of what it
    explains alone and after the other. Interaction is the rest, noise included. Raises ValueError for fewer than four networks.
    """
    number = len(values)
    if values.shape != (number, number) or number < 4:
        raise ValueError(f"a square matrix of at least four networks is needed, not {values.shape}")
    rows, columns = np.nonzero(~np.eye(number, dtype=bool))
    y, unit = values[rows, columns], np.eye(number)
    nothing = float(((y - y.mean()) ** 2).sum())
    target, source = _left(y, unit[rows]), _left(y, unit[columns])
    both = _left(y, np.column_stack([unit[rows], unit[columns]]))
    if nothing <= 0:
        return dict.fromkeys(SHARES, 0.0)
    return {
        "source": ((nothing - source) + (target - both)) / 2 / nothing,
        "target": ((nothing - target) + (source - both)) / 2 / nothing,
        "interaction": both / nothing,
    }


def shares(matrices: Sequence[Array]) -> dict[str, tuple[float, float, float]]:
    """Each share of the mean matrix, with the ends of its 95 % interval over splits: Student's t of the splits' own shares.

    Splits are cuts of one set of inputs, so that the interval is of the cut, not of other inputs or networks.
    """
    from scipy.stats import t

    middle = two_way(np.mean(matrices, axis=0))
    each = [two_way(matrix) for matrix in matrices]
    found = {}
    for name in SHARES:
        values = [one[name] for one in each]
        half = float("nan")
        if len(values) > 1:
            half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
        found[name] = (middle[name], middle[name] - half, middle[name] + half)
    return found


def _left(y: Array, design: Array) -> float:
    """What a linear model leaves of the sum of squares."""
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(((y - fitted) ** 2).sum())
