"""Two systems compared: the score interval against its definition, published values and scipy; refusals with a reason."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import optimize, stats

from leaderboard.compare import CLEAN, as_json, compare, score, table, tango, text

Z = stats.norm.ppf(0.975)


def likely(only_b, only_a, number, difference):
    """The likelihood of a true share of inputs that only B holds, the true difference given; numerically the largest."""
    concordant = number - only_a - only_b

    def cost(share):
        parts = ((only_a, share + difference), (only_b, share), (concordant, 1 - 2 * share - difference))
        return -sum(n * math.log(max(p, 1e-300)) for n, p in parts if n)

    low, high = max(0.0, -difference), (1 - difference) / 2
    return optimize.minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x


@pytest.mark.parametrize(
    ("only_a", "only_b", "number"), [(6, 16, 161), (12, 2, 50), (40, 20, 160), (3, 3, 10), (5, 0, 30)]
)
@pytest.mark.parametrize("difference", [-0.4, -0.05, 0.0, 0.02, 0.3])
def test_the_score_is_that_of_the_most_likely_share(only_a, only_b, number, difference):
    share = likely(only_b, only_a, number, difference)
    variance = (2 * share + difference - difference**2) / number
    expected = ((only_a - only_b) / number - difference) / math.sqrt(variance)
    assert score(only_a, only_b, number, difference) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_without_a_difference_the_score_is_mcnemars():
    assert score(6, 16, 161, 0.0) == pytest.approx((6 - 16) / math.sqrt(22))


def test_a_published_interval():
    """The counts of Cavo et al. 2012, and the limits that the R package contingencytables prints for them."""
    found = tango(6, 16, 161)
    assert (found.value, found.low, found.high) == pytest.approx((-0.0621, -0.1240, -0.0054), abs=5e-5)


@pytest.mark.parametrize(
    ("only_a", "only_b", "number"), [(6, 16, 161), (12, 2, 50), (0, 0, 40), (0, 9, 9), (1, 0, 1), (400, 380, 1000)]
)
def test_the_ends_solve_the_equation_of_the_score(only_a, only_b, number):
    found = tango(only_a, only_b, number)
    assert found.value == pytest.approx((only_a - only_b) / number)
    assert -1 <= found.low <= found.value <= found.high <= 1
    for end, sign in ((found.low, 1), (found.high, -1)):
        if abs(end) < 1:
            assert score(only_a, only_b, number, end) == pytest.approx(sign * Z, abs=1e-6)


def test_nothing_discordant_has_a_closed_form():
    found = tango(0, 0, 50)
    assert (found.low, found.high) == pytest.approx((-(Z**2) / (50 + Z**2), Z**2 / (50 + Z**2)))
    assert math.isnan(tango(0, 0, 0).value)


def test_exchanging_the_systems_turns_the_interval_round():
    there, back = tango(30, 11, 200), tango(11, 30, 200)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_the_interval_covers_what_it_promises():
    """All outcomes of 40 inputs, with their probabilities, for a few truths: coverage close to 95 %, never below 93 %."""
    number = 40
    ends = {(a, b): tango(a, b, number) for a in range(number + 1) for b in range(number + 1 - a) if a + b <= 30}
    for only_a, only_b in ((0.1, 0.1), (0.2, 0.05), (0.3, 0.1)):
        covered = total = 0.0
        for (a, b), found in ends.items():
            p = stats.multinomial.pmf([a, b, number - a - b], number, [only_a, only_b, 1 - only_a - only_b])
            total += p
            covered += p * (found.low <= only_a - only_b <= found.high)
        assert total > 0.999
        assert 0.93 < covered < 0.99


def test_zeros_and_ones_are_counted_and_tested_exactly():
    x, y = np.array([1.0] * 8 + [0] * 4), np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    found = table(x, y)
    assert (found.both, found.only_a, found.only_b, found.neither, found.exact) == (2, 6, 1, 3, True)
    assert found.p == pytest.approx(stats.binomtest(1, 7).pvalue)
    assert found.difference == tango(6, 1, 12)


def test_probabilities_are_expected_and_tested_by_t():
    generator = np.random.default_rng(0)
    x, y = generator.beta(3, 2, 80), generator.beta(2, 3, 80)
    found = table(x, y)
    assert not found.exact
    assert found.both + found.only_a + found.only_b + found.neither == pytest.approx(80)
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
