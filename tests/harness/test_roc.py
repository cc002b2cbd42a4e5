"""The receiver operating characteristic of a detector under attack: against scikit-learn, and where it cannot be had."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from harness.metrics._roc import RATES, area_interval, auroc, curve, curves
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


@pytest.mark.parametrize("apart", [0.0, 1.5, 3.0, 4.5])
@pytest.mark.parametrize("together", [0.0, 0.8], ids=["independent", "paired"])
@pytest.mark.parametrize("number", [10, 50, 200])
def test_the_interval_of_an_area_covers_it(number, together, apart):
    """Normal scores on either side: the area is known, and the ends lie on its two sides as often as they say."""
    generator = np.random.default_rng(6)
    area, covered = stats.norm.cdf(apart / np.sqrt(2)), []
    for _ in range(300):
        clean, own = generator.normal(size=(2, number))
        found = auroc(clean, together * clean + np.sqrt(1 - together**2) * own + apart)
        interval = area_interval(found, number, number)
        covered.append(interval.low <= area <= interval.high)
    assert np.mean(covered) > 0.92


def test_an_area_of_one_between_few_inputs_is_not_certain():
    """The ends change places with the sides, and no area is so small or large that nothing lies beyond it."""
    for area in (0.0, 0.3, 0.5, 1.0):
        found, other = area_interval(area, 20, 30), area_interval(1 - area, 20, 30)
        assert found.low <= area <= found.high
        assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)
    low = area_interval(1.0, 10, 10).low
    variance = low * (1 - low) / 100 * (1 + 9 * (1 - low) / (2 - low) + 9 * low / (1 + low))
    assert 1 - low == pytest.approx(stats.norm.ppf(0.975) * np.sqrt(variance))
    assert area_interval(1.0, 1000, 1000).low > 0.99
