"""Separation of foreign from clean inputs: against scikit-learn, Hanley and McNeil, and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from harness.foreign import FIGURES, Scores, separation, shifts
from harness.metrics._roc import area_interval


def scores(values, owner=None):
    values = np.asarray(values, dtype=float)
    return Scores(values, np.arange(len(values)) if owner is None else np.asarray(owner))


def values(found):
    return {name: interval.value for name, interval in found.items()}


@pytest.mark.parametrize("digits", [6, 1, 0], ids=["no ties", "ties", "few values"])
@pytest.mark.parametrize("sizes", [(300, 200), (50, 400)])
def test_figures_are_those_of_scikit_learn(digits, sizes):
    generator = np.random.default_rng(0)
    clean, foreign = generator.normal(0, 1, sizes[0]).round(digits), generator.normal(1, 1.5, sizes[1]).round(digits)
    found = values(separation(scores(clean), scores(foreign)))
    y, score = np.repeat([0, 1], sizes), np.concatenate([clean, foreign])
    weight = np.repeat([1 / sizes[0], 1 / sizes[1]], sizes)
    false, true, _ = roc_curve(y, score, drop_intermediate=False)
    assert found["auroc"] == pytest.approx(roc_auc_score(y, score))
    assert found["aupr"] == pytest.approx(average_precision_score(y, score, sample_weight=weight))
    assert found["clean_rejected"] == pytest.approx(false[true >= 0.95].min())
    assert found["foreign_accepted"] == pytest.approx(1 - true[false <= 0.05 + 1e-12].max())


def test_the_two_conventions_by_hand():
    """Twenty clean inputs, the twentieth scoring high; of twenty foreign ones two score low."""
    clean, foreign = [*range(19), 100], [0.5, 0.5, *range(30, 48)]
    found = values(separation(scores(clean), scores(foreign)))
    assert found["foreign_accepted"] == pytest.approx(0.1)  # above 18 lies one clean input, and all foreign but two
    assert found["clean_rejected"] == pytest.approx(0.95)  # nineteen foreign ones are rejected from 0.5 on
    assert set(found) == set(FIGURES)


@pytest.mark.parametrize(("mean", "number"), [(0.36, 500), (1.81, 500), (1.81, 200)])
def test_bootstrap_intervals_agree_with_hanley_and_mcneil(mean, number):
    generator = np.random.default_rng(1)
    clean, foreign = generator.normal(0, 1, number), generator.normal(mean, 1, number)
    found = separation(scores(clean), scores(foreign))["auroc"]
    closed = area_interval(found.value, number, number)
    assert found.high - found.low == pytest.approx(closed.high - closed.low, rel=0.15)
    assert found.low < found.value < found.high


def test_several_draws_of_an_input_are_no_more_inputs():
    generator = np.random.default_rng(2)
    clean, foreign = generator.normal(0, 1, 100), generator.normal(1, 1, 80)
    once = separation(scores(clean), scores(foreign))
    again = separation(
        scores(np.tile(clean, 5), np.tile(np.arange(100), 5)), scores(np.tile(foreign, 3), np.tile(np.arange(80), 3))
    )
    for name in FIGURES:
        assert again[name].value == pytest.approx(once[name].value)
        assert (again[name].low, again[name].high) == pytest.approx((once[name].low, once[name].high))
    uneven = separation(scores([0.0, 0.0, 0.0, 2.0], [0, 0, 0, 1]), scores([1.0]))
    assert uneven["auroc"].value == pytest.approx(0.5)


def test_extremes():
    for clean, foreign, area, rejected in [([0, 1], [2, 3], 1, 0), ([2, 3], [0, 1], 0, 1), ([1, 1], [1, 1], 0.5, 1)]:
        found = separation(scores(clean), scores(foreign))
        assert found["auroc"].value == area
        assert found["clean_rejected"].value == found["foreign_accepted"].value == rejected
        if area != 0.5:
            assert (found["auroc"].low, found["auroc"].high) == (area, area)
    assert separation(scores([0.0]), scores([-np.inf]))["auroc"].value == 0


def outcomes(*, rejects):
    clean = pd.DataFrame({"cell": "clean", "index": range(40), "margin": np.linspace(-1, 0.1, 40)})
    foreign = pd.DataFrame({"cell": "shift kmnist", "index": range(20), "margin": np.linspace(-0.5, 2, 20)})
    table = pd.concat([clean, foreign], ignore_index=True)
    table["accepted"] = table["margin"] <= 0
    table.attrs = {"rejects": rejects}
    return table


def test_rows_of_the_record():
    (row,) = shifts(outcomes(rejects=True))
    margins = np.linspace(-1, 0.1, 40), np.linspace(-0.5, 2, 20)
    assert row["name"] == "kmnist"
    assert row["accepted"]["value"] == pytest.approx(0.2)
    assert row["auroc"]["value"] == pytest.approx(roc_auc_score(np.repeat([0, 1], [40, 20]), np.concatenate(margins)))
    assert {"aupr", "foreign_accepted", "clean_rejected", "tpr_at_1", "tpr_at_5"} < set(row)
    assert shifts(outcomes(rejects=True)) == shifts(outcomes(rejects=True))
    (plain,) = shifts(outcomes(rejects=False))
    assert set(plain) == {"name", "accepted"}
