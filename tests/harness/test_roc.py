"""The receiver operating characteristic of a detector under attack: against scikit-learn, and where it cannot be had."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve

from harness.metrics._roc import RATES, curve, curves
from harness.rank import wilson
from harness.types import Threat


@pytest.mark.parametrize("digits", [6, 1], ids=["no ties", "ties"])
def test_the_curve_is_that_of_scikit_learn_at_every_rate_that_the_inputs_can_tell(digits):
    generator = np.random.default_rng(0)
    clean, attacked = generator.normal(0, 1, 250).round(digits), generator.normal(1, 1, 400).round(digits)
    false, true, _ = roc_curve(
        np.repeat([0, 1], (250, 400)), np.concatenate([clean, attacked]), drop_intermediate=False
    )
    found = curve(clean, attacked, RATES)
    assert [point["fpr"] for point in found] == [rate for rate in RATES if rate >= 1 / 250]
    for point in found:
        best = true[false <= point["fpr"] + 1e-9].max()
        assert point["tpr"] == pytest.approx(best)
        whole = wilson(round(best * 400), 400)
        assert (point["low"], point["high"]) == pytest.approx((whole.low, whole.high))
    assert found[-1]["tpr"] == 1.0


def outcomes(rejects=True, wrong=20):
    """Forty inputs, clean and attacked; `wrong` of them are misclassified and score higher."""
    shared = {"epsilon": 0.1, "draw": 0, "label": 0, "accepted": True, "valid": True, "norm": "linf", "role": "score"}
    rows = []
    for index in range(40):
        known = shared | {"index": index, "knowledge": "oblivious"}
        rows.append(known | {"cell": "clean", "prediction": 0, "margin": -float(index)})
        rows.append(known | {"cell": "attack", "prediction": int(index < wrong), "margin": 1.0})
    frame = pd.DataFrame(rows)
    frame.attrs["rejects"] = rejects
    return frame


def test_a_detector_has_a_curve_for_each_attacker_and_others_none():
    headline = Threat("linf", 0.1, "adaptive")
    found = curves(outcomes(), headline)
    assert [(each["knowledge"], each["inputs"]) for each in found] == [("adaptive", 20), ("oblivious", 20)]
    assert all(point["tpr"] == 1.0 for each in found for point in each["points"])
    assert [each["knowledge"] for each in curves(outcomes(), Threat("linf", 0.1, "oblivious"))] == ["oblivious"]
    assert curves(outcomes(rejects=False), headline) == []
    assert curves(outcomes(wrong=9), headline) == []
