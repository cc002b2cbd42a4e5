"""Flags of systems that may reject: what they do with clean inputs and with harmless noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.flags._flag import NOISE, Flag, listed, open_question
from harness.rank import wilson

if TYPE_CHECKING:
    import pandas as pd

ACCEPTED = 0.9  # of clean inputs with noise of a quarter of epsilon


def threshold_off(outcomes: pd.DataFrame) -> Flag:
    """The false-positive rate reached on clean test inputs is not the nominal one.

    With n calibration inputs and the k-th smallest score as threshold, the number rejected of m is beta-binomial.
    """
    name = "threshold-off"
    if not outcomes.attrs.get("rejects", False):
        return Flag(name, False, "the system never rejects", None, {})
    from scipy import stats

    clean = outcomes[(outcomes["cell"] == "clean") & (outcomes["draw"] == 0)]
    m, rejected = len(clean), int((~clean["accepted"].astype(bool)).sum())
    n, rate = int(outcomes.attrs["calibrated"]), float(outcomes.attrs["rate"])
    above = max(1, n + 1 - math.ceil((n + 1) * (1 - rate) - 1e-9))  # as `system.calibrate` chooses
    chance = stats.betabinom(m, above, n + 1 - above)
    p = min(1.0, 2 * float(min(chance.cdf(rejected), chance.sf(rejected - 1))))
    reached = wilson(rejected, m)
    text = f"rejects {100 * reached.value:.2f} % of {m} clean inputs, nominal {100 * rate:g} % (p = {p:.2g})"
    fired = p < 0.001 or (reached.high < rate / 2)
    evidence = {"rejected": rejected, "clean": m, "calibrated": n, "p": p}
    rows = clean["index"][~clean["accepted"].astype(bool)]
    return Flag(name, fired, text, reached.value, evidence | {"inputs": listed(rows)})


def rejects_noise(table: pd.DataFrame, noise: str) -> Flag:
    """A detector rejects clean inputs with a little uniform noise; `noise` is the shift's label."""
    if not table.attrs.get("rejects", False):
        return Flag(NOISE, False, "the system never rejects", None, {})
    rows = table[table["cell"] == f"shift {noise}"]
    if not len(rows):
        return open_question(NOISE, f"the shift {noise} was not watched")
    taken = rows["accepted"] > 0.5
    share = wilson(int(taken.sum()), len(rows))
    text = (
        f"accepts {100 * share.value:.1f} % of {len(rows)} inputs under {noise} (sound: at least {100 * ACCEPTED:g} %)"
    )
    evidence = {"accepted": int(taken.sum()), "n": len(rows), "low": share.low, "high": share.high}
    return Flag(NOISE, share.value < ACCEPTED, text, share.value, evidence | {"inputs": listed(rows["index"][~taken])})
