"""Two systems compared: the interval against published values, scipy and the page; refusals with a reason."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import leaderboard
from harness.rank import mcnemar
from leaderboard.compare import CLEAN, as_json, compare, newcombe, table, text

CASES = [
    (59, 6, 16, 80),
    (36, 12, 2, 0),
    (500, 60, 40, 400),
    (0, 0, 0, 50),
    (0, 50, 0, 0),
    (63, 547, 47, 343),
    (1, 0, 0, 0),
]


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((59, 6, 16, 80), -0.1186, -0.0046),  # Cavo et al. 2012, as the R package contingencytables prints it
        ((36, 12, 2, 0), 0.0569, 0.3404),  # an example of Newcombe's own
    ],
)
def test_published_intervals(counts, low, high):
    found = newcombe(*counts)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("both", "only_a", "only_b", "neither"), CASES)
def test_the_interval_by_scipy_and_the_correlation_of_the_inputs(both, only_a, only_b, neither):
    number = both + only_a + only_b + neither
    shares = [stats.binomtest(k, number).proportion_ci(0.95, method="wilson") for k in (both + only_a, both + only_b)]
    x = np.repeat([1.0, 1, 0, 0], [both, only_a, only_b, neither])
    y = np.repeat([1.0, 0, 1, 0], [both, only_a, only_b, neither])
    phi = np.corrcoef(x, y)[0, 1] if x.std() > 0 and y.std() > 0 else 0.0
    if phi > 0:
        phi *= max(0.0, both * neither - only_a * only_b - number / 2) / (both * neither - only_a * only_b)
    turn = np.array([[1, -phi], [-phi, 1]])
    down = np.array([x.mean() - shares[0].low, shares[1].high - y.mean()])
    up = np.array([shares[0].high - x.mean(), y.mean() - shares[1].low])
    found = newcombe(both, only_a, only_b, neither)
    value = x.mean() - y.mean()
    expected = (value, value - math.sqrt(down @ turn @ down), value + math.sqrt(up @ turn @ up))
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-9)
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_no_inputs_have_no_interval():
    assert math.isnan(newcombe(0, 0, 0, 0).value)


def test_exchanging_the_systems_turns_the_interval_round():
    there, back = newcombe(100, 30, 11, 59), newcombe(100, 11, 30, 59)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_the_interval_covers_what_it_promises():
    """All outcomes of 20 inputs, with their probabilities, for a few truths: between 93 and 99 %."""
    number = 20
    split = [
        (a, b, c, number - a - b - c)
        for a in range(number + 1)
        for b in range(number + 1 - a)
        for c in range(number + 1 - a - b)
    ]
    ends = [newcombe(*counts) for counts in split]
    for truth in ((0.5, 0.1, 0.1, 0.3), (0.4, 0.3, 0.1, 0.2), (0.2, 0.3, 0.05, 0.45)):
        p = stats.multinomial.pmf(split, number, truth)
        held = np.array([end.low <= truth[1] - truth[2] <= end.high for end in ends])
        assert p.sum() == pytest.approx(1)
        assert 0.93 < p @ held < 0.99


@pytest.mark.skipif(not shutil.which("node"), reason="no node here")
def test_the_page_computes_the_same():
    """The page's script, which cannot share this code, gives the same interval and p."""
    script = (Path(leaderboard.__file__).parent / "assets" / "compare.js").read_text(encoding="utf-8")
    names = ("both", "first", "second", "neither")
    asked = json.dumps([dict(zip(names, counts, strict=True)) for counts in CASES])
    stub = "globalThis.document = { querySelector: () => null };\n"
    source = f"{stub}{script}\nconsole.log(JSON.stringify({asked}.map(proportions)));"
    done = subprocess.run(["node", "-"], input=source, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    for (both, only_a, only_b, neither), told in zip(CASES, json.loads(done.stdout), strict=True):
        found = newcombe(both, only_a, only_b, neither)
        assert (told["mean"], told["low"], told["high"]) == pytest.approx(
            (found.value, found.low, found.high), abs=1e-12
        )
        assert told["chance"] == pytest.approx(mcnemar(only_a, only_b), rel=1e-9)


def test_zeros_and_ones_are_counted_and_tested_exactly():
    x, y = np.array([1.0] * 8 + [0] * 4), np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    found = table(x, y)
    assert (found.both, found.only_a, found.only_b, found.neither, found.exact) == (2, 6, 1, 3, True)
    assert found.p == pytest.approx(stats.binomtest(1, 7).pvalue)
    assert found.difference == newcombe(2, 6, 1, 3)


def test_probabilities_are_held_from_a_half_on_and_tested_by_t():
    generator = np.random.default_rng(0)
    x, y = generator.beta(3, 2, 80), generator.beta(2, 3, 80)
    found = table(x, y)
    assert not found.exact
    assert found.both + found.only_a + found.only_b + found.neither == 80
    assert found.both + found.only_a == (x >= 0.5).sum()
    expected = stats.ttest_rel(x, y)
    ends = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((ends.low, ends.high))
    single = table(np.array([0.5]), np.array([0.25]))
    assert (single.difference.low, single.difference.high, single.p) == (-1.0, 1.0, 1.0)


def held(index, robust, breaker, clean=None):
    return {
        "index": index,
        "robust": robust,
        "breaker": breaker,
        "clean": [1.0] * len(index) if clean is None else clean,
    }


def test_inputs_are_those_in_common_and_what_broke_them_is_named(made):
    a = made.system("a", per_input=held([5, 1, 2, 3], [0.0, 1.0, 1.0, 0.0], ["pgd", "", "", "fgsm"]))
    b = made.system("b", per_input=held([1, 2, 3, 4], [0.0, 1.0, 0.0, 1.0], ["", "", "pgd", ""], [0.0, 1, 1, 1]))
    found = compare(a, b)
    assert (found.inputs, found.only_a, found.only_b) == (3, [1], [])
    assert (found.robust.both, found.robust.neither) == (1, 1)
    assert found.lost_by_b == {CLEAN: 1}
    assert found.lost_by_a == {}
    assert found.lost_by_both == {("fgsm", "pgd"): 1}
    assert found.clean is not None
    assert (found.clean.only_a, found.clean.both) == (1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suite": "fashion-0"}, "suite fashion-1 against fashion-0"),
        ({"dataset": "digits"}, "data set fashion_mnist against digits"),
        ({"victim": "mlp"}, "victim cnn against mlp"),
        ({"size": "dev"}, "size official against dev"),
        ({"seed": 1}, "seed 0 against 1"),
        ({"headline": {"norm": "l2", "epsilon": 1.5, "knowledge": "adaptive"}}, "threat .* against ℓ2 1.5, adaptive"),
        ({"headline": {}}, "no headline"),
        ({"per_input": {}}, "has no result"),
        ({"per_input": held([5000], [1.0], [""])}, "no input in common"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(made, change, words):
    with pytest.raises(ValueError, match=words):
        compare(made.system("a"), made.system("b", **change))


def test_records_without_a_clean_column_have_no_clean_table(made):
    found = compare(made.system("a"), made.system("b", per_input={"index": [0, 1], "robust": [1.0, 0.0]}))
    assert found.clean is None
    assert found.inputs == 2
    assert "clean  " not in text(found)


def test_in_words_and_as_json(made):
    found = compare(made.system("a", robust=0.6), made.system("b", robust=0.2))
    words, told = text(found), json.loads(json.dumps(as_json(found), allow_nan=False))
    assert told["inputs"] == 1000
    assert told["robust"]["only_a"] == len(told["only_a"]) == sum(told["lost_by_b"].values())
    assert sum(each["inputs"] for each in told["lost_by_both"]) == told["robust"]["neither"]
    assert "McNemar's exact test" in words
    assert "1,000 inputs in common" in words
    random = made.system("c", per_input=held([0, 1, 2], [0.3, 0.7, 1.0], ["pgd", "pgd", ""]))
    assert "paired t test" in text(compare(made.system("a"), random))


def test_a_name_steers_no_terminal(made):
    assert "\x1b" not in text(compare(made.system("a\x1b[31m"), made.system("b")))
