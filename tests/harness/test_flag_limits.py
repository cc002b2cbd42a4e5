"""Where each flag begins to fire: on either side of every number that the evaluation rules state."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.flags import checks, comparisons, rejection
from harness.flags.probed import probed
from harness.types import Threat

HEADLINE = Threat("linf", 0.2, "adaptive")


def seen(attack: str, broken: Set[int], n: int, *, given: Set[int] | None = None, **columns: Any) -> pd.DataFrame:
    """What came of an attack (or of none) on the inputs 0 .. n - 1, input by input."""
    index = np.arange(n)
    base = {"cell": "attack" if attack else "clean", "check": "", "attack": attack, "norm": "linf", "epsilon": 0.2}
    made = pd.DataFrame({"index": index, "broken": np.isin(index, list(broken)), "loss": np.nan})
    made["attacked"] = bool(attack) if given is None else np.isin(index, list(given))
    return made.assign(**(base | {"knowledge": "adaptive"} | columns))


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    """A system that is right on all clean inputs, and its attacks."""
    n = 1 + int(max(part["index"].max() for part in parts))
    made = pd.concat([seen("", set(), n, epsilon=0.0, norm="", knowledge=""), *parts], ignore_index=True)
    made.attrs = {"needs": {"square": "logits"}, "defended": True, "classes": 10, "rejects": True}
    return made


@pytest.mark.parametrize(
    ("n", "b", "c", "fired"),
    [
        (1000, 7, 0, True),  # p = .0078
        (1000, 6, 0, False),  # p = .016: six are enough by number, not by p
        (1000, 8, 2, False),  # p = .055
        (1000, 30, 10, True),
        (2000, 11, 0, False),  # p = .0005, but twelve of two thousand are needed
        (2000, 12, 0, True),
    ],
)
def test_single_step_limits(n: int, b: int, c: int, fired: bool) -> None:
    found = comparisons.single_step(
        table(seen("fgsm", set(range(b)), n), seen("pgd", set(range(b, b + c)), n)), HEADLINE
    )
    assert (found.fired, found.evidence["b"], found.evidence["c"]) == (fired, b, c)
    assert found.evidence["p"] == pytest.approx(stats.binomtest(b, b + c, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("n", "b", "fired"), [(1000, 5, False), (1000, 6, True), (333, 2, False), (250, 2, True), (64, 1, False)]
)
def test_black_box_limits(n: int, b: int, fired: bool) -> None:
    """Five of 1,000 have a lower bound above .2 %, but are fewer than six; two of 333 are enough and have not."""
    found = comparisons.black_box(table(seen("square", set(range(b)), n), seen("pgd", set(), n)), HEADLINE)
    assert (found.fired, found.evidence["b"]) == (fired, b)
    low = stats.binomtest(b, n).proportion_ci(0.95, method="wilson").low
    assert found.evidence["low"] == pytest.approx(low)


@pytest.mark.parametrize(("fell", "fired"), [(7, False), (8, True)])
def test_doubled_steps_may_gain_a_point(fell: int, fired: bool) -> None:
    """Of 1,000 inputs 500 stand, of which 200 are tried again: the lower bound of half of that share is compared with .01."""
    tried = set(range(200))
    grid = seen("pgd", set(range(500, 1000)), 1000)
    again = seen("apgd(steps=100)", set(range(fell)), 1000, given=tried, check="not-converged")
    found = checks.not_converged(table(grid, again), HEADLINE)
    low = 0.5 * stats.binomtest(fell, 200).proportion_ci(0.95, method="wilson").low
    assert found.evidence["low"] == pytest.approx(low)
    assert found.fired is fired


@pytest.mark.parametrize(("own", "moved", "fired"), [(8, 3, False), (20, 9, True), (20, 10, False), (20, 12, False)])
def test_twins_need_half_and_chance_ruled_out(own: int, moved: int, fired: bool) -> None:
    """Of forty images each; 3 of 40 are less than half of 8 of 40, and may be so by chance."""
    given = set(range(40))
    parts = [
        seen("apgd", given - set(range(held)), 40, check="twins", cell=cell)
        for held, cell in ((own, "attack"), (moved, "moved"))
    ]
    found = checks.twins(table(*parts), HEADLINE)
    counts = np.array([[moved, 40 - moved], [own, 40 - own]])
    p = stats.fisher_exact(counts, alternative="less").pvalue
    assert found.evidence["p"] == pytest.approx(p)
    assert found.fired is fired


@pytest.mark.parametrize(("apart", "fired"), [(1.4, False), (0.9, True), (3.0, False)])
def test_a_loss_is_inconsistent_by_its_upper_bound(apart: float, fired: bool) -> None:
    """Forty inputs on either side: an area of .84 may be one of .9, so that it is no evidence."""
    side = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    pgd = seen("pgd", set(range(40)), 80).assign(loss=np.concatenate([side + apart, side]))
    found = checks.inconsistent_loss(table(pgd), HEADLINE)
    area = stats.mannwhitneyu(side + apart, side).statistic / 1600
    assert found.value == pytest.approx(area)
    assert found.evidence["high"] > area
    assert found.fired is fired


def probe(**changes: Any) -> dict[str, Any]:
    gradient = {"inputs": 200, "unusable": 0, "cross_entropy_unusable": 0}
    repeat = {"inputs": 200, "again": 0, "reversed": 0, "halved": 0, "gradient_mode": 0, "queried": 0}
    mismatch = {"inputs": 200, "near": 0.99, "far": 0.95}
    known = {"gradient": gradient, "repeat": repeat, "mismatch": mismatch, "inputs": 200, "random_declared": False}
    return known | {"autograd": False, "slowdown": 1.0, "probabilities": False} | changes


@pytest.mark.parametrize(
    ("name", "changes", "fired"),
    [
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 4}}, False),  # 2 %, lower bound .8 %
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 5}}, True),  # 2.5 %, lower bound 1.07 %
        ("gradient-mismatch", {"mismatch": {"near": 0.79, "far": 0.1}}, True),
        ("gradient-mismatch", {"mismatch": {"near": 0.81, "far": 0.1}}, False),
        ("loops-at-inference", {"slowdown": 10.5}, True),
        ("loops-at-inference", {"slowdown": 9.9}, False),
        ("batch-dependent", {"repeat": probe()["repeat"] | {"halved": 1}}, True),
    ],
)
def test_limits_of_the_probe(name: str, changes: dict[str, Any], fired: bool) -> None:
    found = {flag.name: flag for flag in probed(probe(**changes), surrogate=False)}[name]
    assert found.fired is fired


@pytest.mark.parametrize(("accepted", "fired"), [(899, True), (900, False)])
def test_harmless_noise_is_accepted_nine_times_in_ten(accepted: int, fired: bool) -> None:
    shift = seen("", set(), 1000, cell="shift uniform_noise").assign(accepted=np.arange(1000) < accepted)
    made = table(seen("pgd", set(), 1000), shift)
    assert rejection.rejects_noise(made, "uniform_noise").fired is fired


def clean(rejected: int, *, n: int, calibrated: int) -> pd.DataFrame:
    """The clean outcomes of a detector at a nominal 1 %."""
    made = pd.DataFrame({"cell": "clean", "index": np.arange(n), "draw": 0, "accepted": np.arange(n) >= rejected})
    made.attrs = {"rejects": True, "rate": 0.01, "calibrated": calibrated}
    return made


def test_a_threshold_is_off_below_one_in_a_thousand() -> None:
    """The first count of each side whose two-sided p, beta-binomial with 50 of 5,000 above the threshold, is below .001."""
    chance = stats.betabinom(1000, 50, 4951)
    counts = np.arange(1001)
    p = 2 * np.minimum(chance.cdf(counts), chance.sf(counts - 1))
    unlikely = set(counts[p < 0.001].tolist())
    most = min(count for count in unlikely if count > 10)
    for count in (0, 1, 5, 10, most - 1, most):
        fired = rejection.threshold_off(clean(count, n=1000, calibrated=5000)).fired
        half = stats.binomtest(count, 1000).proportion_ci(0.95, method="wilson").high < 0.005
        assert fired is bool(count in unlikely or half)


@pytest.mark.parametrize(("rejected", "fired"), [(0, True), (2, False)])
def test_a_threshold_is_off_below_half_of_the_rate(rejected: int, fired: bool) -> None:
    """With 100 calibration inputs no count is unlikely; none of 1,000 rejected is below half of 1 % all the same."""
    found = rejection.threshold_off(clean(rejected, n=1000, calibrated=100))
    assert found.evidence["p"] > 0.001
    assert found.fired is fired
