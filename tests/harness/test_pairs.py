"""All pairs at once give what a plain loop over them gives."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.pairs import better, cutoff, mcnemar_p
from harness.rank import mcnemar, ranked

LEVEL = 0.05


def plain_paired(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Mean difference and p of two systems, by scipy."""
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if not len(x):
        return 0.0, 1.0
    if set(np.unique([x, y])) <= {0.0, 1.0}:
        more, less = int((x > y).sum()), int((x < y).sum())
        p = stats.binomtest(more, more + less, 0.5).pvalue if more + less else 1.0
        return float((x - y).mean()), float(p)
    if len(x) < 2 or np.allclose(x, y):
        return float((x - y).mean()), 1.0
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, about differences that hardly vary
        return float((x - y).mean()), float(stats.ttest_rel(x, y).pvalue)


def plain_better(table: np.ndarray[Any, Any]) -> list[int]:
    """The same by a loop over pairs and a loop over their sorted p."""
    tests = [(i, j, *plain_paired(table[i], table[j])) for i in range(len(table)) for j in range(i)]
    counts = [0] * len(table)
    for place, (i, j, difference, p) in enumerate(sorted(tests, key=lambda test: test[3])):
        if p >= LEVEL / (len(tests) - place):
            break
        if difference:
            counts[i if difference < 0 else j] += 1
    return counts


def systems(seed: int, *, number: int, inputs: int, probabilities: float, missing: float) -> np.ndarray[Any, Any]:
    """Systems of different strength with repeated rows; some with probabilities, some not seen on all inputs."""
    generator = np.random.default_rng(seed)
    strength, hardness = generator.normal(0, 1.5, number), generator.normal(0, 1, inputs)
    chance = 1 / (1 + np.exp(-(strength[:, None] - hardness)))
    table = (generator.random(chance.shape) < chance).astype(float)
    random = generator.random(number) < probabilities
    table[random] = generator.binomial(20, chance[random]) / 20
    copies = generator.integers(0, number, number // 5)
    table[generator.integers(0, number, len(copies))] = table[copies]
    partly = generator.random(number) < 0.5
    table[(generator.random(table.shape) < missing) & partly[:, None]] = np.nan
    return table


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("probabilities", "missing"), [(0.0, 0.0), (0.0, 0.4), (1.0, 0.0), (1.0, 0.4), (0.3, 0.0), (0.3, 0.4), (0.5, 0.97)]
)
def test_as_a_plain_loop(seed: int, probabilities: float, missing: float) -> None:
    table = systems(seed, number=24, inputs=60, probabilities=probabilities, missing=missing)
    assert better(table, level=LEVEL).tolist() == plain_better(table)


def test_as_a_plain_loop_over_more_than_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.pairs._BLOCK", 7)
    for missing in (0.0, 0.3):
        table = systems(3, number=40, inputs=80, probabilities=0.4, missing=missing)
        found = better(table, level=LEVEL).tolist()
        assert found == plain_better(table)
        assert len(set(found)) > 3


def test_order_does_not_matter() -> None:
    table = systems(1, number=30, inputs=100, probabilities=0.4, missing=0.2)
    order = np.random.default_rng(0).permutation(len(table))
    assert better(table[order], level=LEVEL).tolist() == better(table, level=LEVEL)[order].tolist()


def test_few_systems_and_no_inputs() -> None:
    assert better(np.empty((0, 5)), level=LEVEL).tolist() == []
    assert better(np.ones((1, 5)), level=LEVEL).tolist() == [0]
    assert better(np.empty((3, 0)), level=LEVEL).tolist() == [0, 0, 0]
    assert better(np.full((3, 4), np.nan), level=LEVEL).tolist() == [0, 0, 0]
    assert better(np.array([[0.5], [0.1]]), level=LEVEL).tolist() == [0, 0]


def test_a_constant_difference_is_told_apart_and_a_negligible_one_is_not() -> None:
    row = np.linspace(0.2, 0.6, 50)
    assert better(np.stack([row, row + 0.25]), level=LEVEL).tolist() == [1, 0]
    assert better(np.stack([row, row + 1e-9]), level=LEVEL).tolist() == [0, 0]


def test_a_small_spread_beside_large_values_is_not_lost_to_rounding() -> None:
    generator = np.random.default_rng(5)
    row = 0.9 + 0.1 * generator.random(400)
    near = row - 3e-5 + 2e-5 * generator.standard_normal(400)
    far = row + 2e-6 * generator.standard_normal(400)
    table = np.stack([row, near, far])
    assert better(table, level=LEVEL).tolist() == plain_better(table)


@pytest.mark.parametrize("inputs", [1, 5, 40, 1000])
def test_exact_p_of_counts(inputs: int) -> None:
    generator = np.random.default_rng(inputs)
    pairs = generator.integers(0, inputs + 1, (60, 2)).tolist()
    expected = [mcnemar(a, b) for a, b in pairs]
    found = mcnemar_p(np.array([[a + b, min(a, b)] for a, b in pairs]))
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


def test_the_cutoff_of_a_family() -> None:
    p, one = np.array([0.04, 0.001, 0.02]), np.ones(3, dtype=int)
    assert cutoff(p, one, hypotheses=3, level=LEVEL) == 0.04
    assert cutoff(p, one, hypotheses=10, level=LEVEL) == 0.001
    assert cutoff(p, one, hypotheses=1000, level=LEVEL) == -1.0
    assert cutoff(np.array([0.02, 0.001]), np.array([1, 8]), hypotheses=10, level=LEVEL) == 0.02
    assert cutoff(np.array([0.02, 0.001]), np.array([1, 2]), hypotheses=10, level=LEVEL) == 0.001
    assert cutoff(np.array([math.nan]), one[:1], hypotheses=1, level=LEVEL) == -1.0


def test_a_thousand_systems_are_ranked_at_once() -> None:
    table = systems(0, number=1000, inputs=300, probabilities=0.05, missing=0.0)
    head = {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}
    records = [
        {
            "suite": "s", "dataset": "d", "victim": "v", "headline": head, "defense": f"system {i}",
            "metrics": {"robust_accuracy": {"value": float(row.mean())}},
            "per_input": {"index": list(range(300)), "robust": row.tolist()},
        }
        for i, row in enumerate(table)
    ]  # fmt: skip
    found = ranked(records)
    assert len(found) == 1000
    assert [place.rank for place in found] == sorted(place.rank for place in found)
    assert all(place.tied == (sum(other.rank == place.rank for other in found) > 1) for place in found[:20])
