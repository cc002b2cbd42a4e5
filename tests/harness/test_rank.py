"""Intervals, tests and worst cases against scipy, closed forms and simulation."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.rank import (
    failures,
    group,
    holm,
    implausible,
    mcnemar,
    mean_interval,
    one_sided,
    paired,
    ranked,
    robustness,
    wilson,
)
from harness.types import Threat

ADAPTIVE, OBLIVIOUS = Threat("linf", 0.2, "adaptive"), Threat("linf", 0.2, "oblivious")


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (50, 100), (999, 1000), (1, 100000)])
def test_wilson_against_scipy(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    found = wilson(k, n)
    assert (found.value, found.low, found.high) == pytest.approx((k / n, expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing() -> None:
    assert math.isnan(wilson(0, 0).value)


def test_wilson_solves_its_equation() -> None:
    """The ends are where the share lies 1.96 standard errors from the truth."""
    found, z = wilson(37, 120), stats.norm.ppf(0.975)
    for p in (found.low, found.high):
        assert abs(37 / 120 - p) == pytest.approx(z * math.sqrt(p * (1 - p) / 120))


def test_mean_interval() -> None:
    assert mean_interval(np.array([1.0, 0.0, 1.0])) == wilson(2, 3)
    values = np.random.default_rng(0).beta(5, 2, 40000)
    found = mean_interval(values)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-4)
    one = mean_interval(np.array([0.5]))
    assert one.value == 0.5
    assert one.low <= 0.5 <= one.high


@pytest.mark.parametrize(("ones", "n"), [(0, 20), (1, 50), (25, 50), (999, 1000)])
def test_a_fraction_among_zeros_and_ones_does_not_change_the_interval(ones: int, n: int) -> None:
    """One input lost in a draw of ten thousand, and the interval is Wilson's still, or a little wider."""
    values = np.repeat([0.0, 1.0], [n - ones, ones])
    values[0] = 0.0001
    found, sharp = mean_interval(values), wilson(ones, n)
    assert found.low <= sharp.low + 1e-3
    assert found.high >= sharp.high - 1e-3
    assert found.high - found.low == pytest.approx(sharp.high - sharp.low, rel=0.25)


@pytest.mark.parametrize("inputs", [50, 200, 1000])
@pytest.mark.parametrize(("a", "b"), [(0.05, 4.95), (4.95, 0.05), (0.2, 0.2), (30.0, 0.3)])
def test_mean_interval_covers_the_mean(a: float, b: float, inputs: int) -> None:
    """Inputs of a population, each scored by 100 draws: the mean of the population lies inside as often as it says."""
    generator = np.random.default_rng(3)
    covered = [
        found.low <= a / (a + b) <= found.high and found.low <= found.value <= found.high
        for found in (mean_interval(generator.binomial(100, generator.beta(a, b, inputs)) / 100) for _ in range(1000))
    ]
    assert np.mean(covered) > 0.93


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_wilson_covers_the_share(share: float, n: int) -> None:
    """By the exact distribution; its least coverage, .91, is at a share near the ends of the range and few inputs."""
    counts = np.arange(n + 1)
    inside = [wilson(int(k), n).low <= share <= wilson(int(k), n).high for k in counts]
    assert stats.binom.pmf(counts, n, share)[inside].sum() > (0.9 if n == 50 else 0.935)


@pytest.mark.parametrize("fraction", [False, True])
def test_paired_test_is_no_larger_than_its_level(fraction: bool) -> None:
    """Equal systems, few inputs told apart: by McNemar's test, and by t where one value is a probability."""
    generator = np.random.default_rng(4)
    found = []
    for _ in range(2000):
        u = generator.random(500)
        a, b = (u > 0.01).astype(float), ((u <= 0.01) | (u > 0.02)).astype(float)
        b[-1] = 0.99 if fraction else b[-1]
        found.append(paired(a, b)[1] < 0.05)
    assert np.mean(found) < 0.065


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 5), (5, 0), (3, 9), (40, 41), (1, 1)])
def test_mcnemar_against_the_binomial_test(a: int, b: int) -> None:
    expected = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)
    single = stats.binomtest(a, a + b, 0.5, alternative="greater").pvalue if a + b else 1.0
    assert one_sided(a, b) == pytest.approx(single)


def test_holm() -> None:
    assert holm([]) == []
    assert holm([0.04]) == [True]
    assert holm([0.04, 0.01, 0.03]) == [False, True, False]
    assert holm([0.001, 0.02, 0.04]) == [True, True, True]
    assert holm([0.2, 0.001, 0.03]) == [False, True, False]


def test_paired() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.beta(3, 2, 100), generator.beta(2, 3, 100)
    difference, p = paired(x, y)
    assert difference == pytest.approx((x - y).mean())
    assert p == pytest.approx(stats.ttest_rel(x, y).pvalue)
    a, b = np.array([1.0, 1, 1, 0, np.nan]), np.array([0.0, 0, 1, 0, 1])
    assert paired(a, b) == (0.5, mcnemar(2, 0))
    assert paired(np.array([np.nan]), np.array([1.0])) == (0.0, 1.0)
    assert paired(x, x) == (0.0, 1.0)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    base = {
        "cell": "attack", "attack": "pgd", "norm": "linf", "epsilon": 0.2, "knowledge": "adaptive", "draw": 0, "label": 0,
        "prediction": 0, "margin": 0.0, "accepted": True, "distance": 0.1, "valid": True, "role": "score",
        "check": "",
    }  # fmt: skip
    return pd.DataFrame([base | row for row in rows])


def outcomes(
    broken: dict[tuple[str, float, str], list[int]], n: int = 10, clean_wrong: tuple[int, ...] = ()
) -> pd.DataFrame:
    """A deterministic system: which inputs each (attack, epsilon, knowledge) breaks."""
    rows: list[dict[str, Any]] = [
        {
            "cell": "clean",
            "attack": "",
            "norm": "",
            "epsilon": 0.0,
            "knowledge": "",
            "index": i,
            "prediction": int(i in clean_wrong),
        }
        for i in range(n)
    ]
    for (attack, epsilon, knowledge), inputs in broken.items():
        rows += [
            {"attack": attack, "epsilon": epsilon, "knowledge": knowledge, "index": i, "prediction": int(i in inputs)}
            for i in range(n)
        ]
    return table(rows)


def test_the_worst_case_is_per_input_never_the_minimum_of_means() -> None:
    found = robustness(outcomes({("a", 0.2, "adaptive"): [0, 1, 2], ("b", 0.2, "adaptive"): [3, 4, 5]}), ADAPTIVE)
    assert found.interval.value == pytest.approx(0.4)
    assert found.breaker.tolist() == ["a"] * 3 + ["b"] * 3 + [""] * 4
    one = robustness(outcomes({("a", 0.2, "adaptive"): [0, 1, 2], ("b", 0.2, "adaptive"): [3]}), ADAPTIVE, attack="b")
    assert one.interval.value == pytest.approx(0.9)


def test_a_clean_mistake_counts_and_no_attack_is_named_for_it() -> None:
    found = robustness(outcomes({("a", 0.2, "adaptive"): [0, 9]}, clean_wrong=(9,)), ADAPTIVE)
    assert found.interval.value == pytest.approx(0.8)
    assert (found.clean[9], found.breaker[9], found.breaker[0]) == (0.0, "", "a")
    alone = robustness(outcomes({("a", 0.2, "adaptive"): []}, clean_wrong=(9,)), ADAPTIVE)
    assert alone.interval.value == pytest.approx(0.9)


def test_a_smaller_epsilon_counts_at_a_larger_one_and_not_the_other_way() -> None:
    frame = outcomes({("a", 0.1, "adaptive"): [0], ("a", 0.2, "adaptive"): [1], ("a", 0.3, "adaptive"): [2]})
    assert robustness(frame, ADAPTIVE).interval.value == pytest.approx(0.8)
    assert robustness(frame, Threat("linf", 0.1, "adaptive")).interval.value == pytest.approx(0.9)
    assert robustness(frame, Threat("linf", 0.3, "adaptive")).interval.value == pytest.approx(0.7)


def test_an_oblivious_success_counts_for_the_adaptive_threat_and_not_the_other_way() -> None:
    frame = outcomes({("a", 0.2, "oblivious"): [0, 1], ("a", 0.2, "adaptive"): [2]})
    assert robustness(frame, ADAPTIVE).interval.value == pytest.approx(0.7)
    assert robustness(frame, OBLIVIOUS).interval.value == pytest.approx(0.8)


def test_other_norms_and_invalid_or_rejected_answers_do_not_count() -> None:
    frame = outcomes({("a", 0.2, "adaptive"): [0, 1, 2, 3]})
    attacked = frame["cell"] == "attack"
    frame.loc[attacked & (frame["index"] == 0), "norm"] = "l2"  # which leaves nine inputs under the threat
    frame.loc[attacked & (frame["index"] == 1), "valid"] = False
    frame.loc[attacked & (frame["index"] == 2), "accepted"] = False
    assert robustness(frame, ADAPTIVE).interval.value == pytest.approx(8 / 9)
    frame.loc[~attacked & (frame["index"] == 5), "accepted"] = False  # a clean input that is rejected is lost
    assert robustness(frame, ADAPTIVE).interval.value == pytest.approx(7 / 9)
    assert int(np.sum(failures(frame))) == 3


def test_only_attacked_inputs_are_scored_and_each_must_be_seen_clean() -> None:
    frame = outcomes({("a", 0.2, "adaptive"): [0]})
    few = frame[(frame["cell"] == "clean") | (frame["index"] < 4)]
    assert robustness(few, ADAPTIVE).interval.value == pytest.approx(0.75)
    unseen = frame[(frame["cell"] == "attack") | (frame["index"] < 4)]
    with pytest.raises(ValueError, match="were not observed clean"):
        robustness(unseen, ADAPTIVE)


def random_outcomes(attacks: int, inputs: int, rate: float, *, select: int, score: int, seed: int = 0) -> pd.DataFrame:
    """A random system that every attack breaks with the same probability, draw by draw."""
    generator = np.random.default_rng(seed)
    draws = select + score
    frames = []
    for attack in range(attacks + 1):
        frame = table([{}]).drop(columns=["index"], errors="ignore")
        frame = frame.loc[frame.index.repeat(inputs * draws)].reset_index(drop=True)
        frame["index"], frame["draw"] = np.tile(np.arange(inputs), draws), np.repeat(np.arange(draws), inputs)
        frame["prediction"] = (generator.random(inputs * draws) < (rate if attack else 0.0)).astype(int)
        frame["attack"] = f"a{attack}" if attack else ""
        frame["cell"] = "attack" if attack else "clean"
        frame["role"] = np.where(frame["draw"] < select, "select", "score")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def test_random_systems_are_scored_on_fresh_draws_without_bias() -> None:
    """Twelve attacks of equal strength 0.3: the worst of them on the draws that chose it would look far stronger."""
    frame = random_outcomes(12, 200, 0.3, select=20, score=50)
    found = robustness(frame, ADAPTIVE)
    error = math.sqrt(0.3 * 0.7 / (200 * 50))
    assert found.interval.value == pytest.approx(0.7, abs=5 * error)
    assert found.interval.low <= found.interval.value <= found.interval.high
    selected = frame[(frame["role"] == "select") & (frame["cell"] == "attack")]
    same = selected.groupby(["attack", "index"])["prediction"].mean().groupby("index").max().mean()
    assert same > 0.3 + 20 * error


def test_a_stronger_attack_is_chosen_for_random_systems() -> None:
    frame = random_outcomes(2, 100, 0.1, select=20, score=30)
    strong = frame["attack"] == "a2"
    frame.loc[strong, "prediction"] = (np.random.default_rng(5).random(int(strong.sum())) < 0.9).astype(int)
    found = robustness(frame, ADAPTIVE)
    assert set(found.breaker) == {"a2"}
    assert found.interval.value == pytest.approx(0.1, abs=0.03)


def record(name: str, robust: list[float], **changes: Any) -> dict[str, Any]:
    return {
        "suite": "s", "size": "official", "dataset": "digits", "victim": "mlp", "defense": name, "seed": 0,
        "headline": {"norm": "linf", "epsilon": 0.2, "knowledge": "adaptive"}, "flags": [],
        "per_input": {"index": list(range(len(robust))), "robust": robust},
        "metrics": {"robust_accuracy": {"value": float(np.mean(robust))}},
    } | changes  # fmt: skip


def test_ranks_and_ties() -> None:
    best, close = [1.0] * 90 + [0.0] * 10, [1.0] * 88 + [0.0] * 12
    worst = [1.0] * 20 + [0.0] * 80
    order = ranked([record("worst", worst), record("close", close), record("best", best)])
    assert [(p.record["defense"], p.rank, p.tied) for p in order] == [
        ("best", 1, True),
        ("close", 1, True),
        ("worst", 3, False),
    ]


def evaluated(value: float, halves: dict[float, float], *, roles: tuple[str, ...] = ("detector",)) -> dict[str, Any]:
    """A system's robust accuracy of 1,000 inputs at epsilon 0.2 and, by epsilon, elsewhere."""
    ones = int(1000 * value)
    made = record("d", [1.0] * ones + [0.0] * (1000 - ones))
    made["metrics"] = {"robust_accuracy": asdict(wilson(ones, 1000))}
    threats = [
        {"norm": "linf", "epsilon": e, "knowledge": "adaptive", "robust_accuracy": asdict(wilson(v * 1000, 1000))}
        for e, v in halves.items()
    ]
    return made | {"roles": list(roles), "threats": threats}


@pytest.mark.parametrize(
    ("own", "classifier", "fired"),
    [
        (0.6, {0.1: 0.5}, True),
        (0.52, {0.1: 0.5}, False),
        (0.6, {0.1: 0.7}, False),
        (0.6, {0.2: 0.5}, None),
        (0.999, {0.1: 0.985}, False),  # told apart by the intervals, but by less than two points
        (0.54, {0.1: 0.51}, False),  # by three points, but not by the intervals
    ],
)
def test_a_detector_above_every_classifier_at_half_of_epsilon(
    own: float, classifier: dict[float, float], fired: bool | None
) -> None:
    peers = [evaluated(own, {}), evaluated(0.1, classifier, roles=()), evaluated(0.9, {0.1: 0.2})]
    found = implausible(peers[0], peers)
    assert (found["fired"], found["severity"]) == (fired, "info")
    flags = [place.record["flags"] for place in ranked(peers) if place.record["roles"]]
    assert found in [flag for each in flags for flag in each]
    assert all(not place.record["flags"] for place in ranked(peers) if not place.record["roles"])
    assert all(not peer["flags"] for peer in peers)


def test_inputs_left_alone_by_a_check_do_not_thin_out_what_broke_them() -> None:
    """A check has the name of the grid's attack, and was not given the inputs that this had broken."""
    first = outcomes({("apgd", 0.2, "adaptive"): [0, 1, 2]})
    check = first[first["cell"] == "attack"].assign(check="not-converged", prediction=0, attacked=False)
    found = robustness(pd.concat([first, check], ignore_index=True), ADAPTIVE)
    assert found.robust.tolist() == [0.0] * 3 + [1.0] * 7


def test_a_flagged_record_is_never_first_among_equals() -> None:
    flag = [{"name": "f", "fired": True, "severity": "warning"}]
    info = [{"name": "f", "fired": True, "severity": "info"}, {"name": "g", "fired": None}]
    order = ranked([record("a", [1.0] * 50, flags=flag), record("b", [1.0] * 49 + [0.0], flags=info)])
    assert [(p.record["defense"], p.flagged) for p in order] == [("b", False), ("a", True)]


def test_groups_are_ranked_apart_and_records_without_value_left_out() -> None:
    failed = record("failed", [1.0]) | {"metrics": {}, "per_input": {}}
    other = record("other", [0.0] * 50, victim="cnn")
    order = ranked([record("a", [1.0] * 50), other, failed])
    assert {(p.record["defense"], p.rank, p.tied) for p in order} == {("a", 1, False), ("other", 1, False)}
    assert group(record("a", [1.0])) != group(other)
    assert ranked([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"suite": "other"},
        {"size": "dev"},
        {"dataset": "cifar10"},
        {"victim": "cnn"},
        {"seed": 1},
        {"headline": {"norm": "l2", "epsilon": 0.2, "knowledge": "adaptive"}},
        {"headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}},
        {"headline": {"norm": "linf", "epsilon": 0.2, "knowledge": "oblivious"}},
    ],
)
def test_only_one_threat_one_victim_and_the_same_inputs_are_compared(changes: dict[str, Any]) -> None:
    other = record("other", [0.0] * 50, **changes)
    assert [place.rank for place in ranked([record("a", [1.0] * 50), other])] == [1, 1]


def test_inputs_are_paired_by_index() -> None:
    """Two systems seen on other inputs are compared on those that both saw."""
    a = record("a", [1.0] * 40) | {"per_input": {"index": list(range(40)), "robust": [1.0] * 40}}
    b = record("b", [0.0] * 40) | {"per_input": {"index": list(range(39, 79)), "robust": [0.0] * 40}}
    assert [p.rank for p in ranked([a, b])] == [1, 1]
    c = record("c", [0.0] * 40) | {"per_input": {"index": list(range(40))[::-1], "robust": [0.0] * 40}}
    assert [(p.record["defense"], p.rank) for p in ranked([c, a])] == [("a", 1), ("c", 2)]
