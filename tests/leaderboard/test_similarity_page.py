"""Neural similarity on the page and in exports: points, rank correlation, what is missing, and hostile records."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from leaderboard import _similarity, similarity
from leaderboard.rows import boards


def measured(value, region="human_it", **changes):
    row = {"name": region, "value": value, "low": value - 0.05, "high": value + 0.08, "compare": "pearson"}
    row |= {"layer": "body.9", "people": 0.2, "ceiling_low": 0.39, "ceiling_high": 0.68, "pixels": 0.05}
    return {"measures": {"neural_similarity": {"measure": "neural_similarity", "missing": "", "rows": [row | changes]}}}


@pytest.fixture
def systems(made):
    random = np.random.default_rng(0)
    found = []
    for victim in ("cnn", "cnn(seed=1)"):
        for i in range(6):
            near = float(random.uniform(0.0, 0.4))
            found.append(
                made.system(
                    f"part{i}", victim=victim, clean=0.9, robust=0.1 + near + 0.1 * random.uniform(), **measured(near)
                )
            )
    return found


def test_points_are_those_of_both_victims_and_the_correlation_is_scipys(systems):
    first, second = boards(systems)
    around = similarity.related(first, [first, second])
    found = similarity.points(around, "human_it", "robust_accuracy")
    assert len(found) == 12
    assert sum(point.own for point in found) == 6
    value, networks = similarity.together(found)
    x = [point.line.similarity.value for point in found]
    assert networks == 12
    assert value.value == pytest.approx(spearmanr(x, [point.accuracy.value for point in found]).statistic)
    assert value.low < value.value <= value.high


def test_systems_that_share_a_network_count_once(made):
    shared = [made.system(f"d{i}", robust=0.1 * i, **measured(0.2)) for i in range(8)]
    found = similarity.points(boards(shared), "human_it", "robust_accuracy")
    assert len(found) == 8
    assert similarity.together(found) is None


def test_the_page_has_a_picture_for_each_region_and_accuracy(systems):
    first, second = boards(systems)
    text = str(_similarity.section(first, 0, [first, second]))
    assert text.count("<svg") == 2
    assert text.count("<circle") == 24
    assert text.count('class="best') == 12
    assert "similarity with human IT (Pearson correlation)" in text
    assert "Rank correlation over 12 networks" in text
    assert "nan" not in text
    alone = str(_similarity.section(first, 0))
    assert alone.count("<circle") == 12


def test_a_system_shows_its_layer_and_the_ceiling(systems):
    (board, _) = boards(systems)
    text = str(_similarity.detail(board.rows[0]))
    for word in ("human IT", "body.9", "0.390–0.680", "0.050"):
        assert word in text


def test_what_was_not_measured_is_said(made):
    told = {"neural_similarity": {"measure": "neural_similarity", "rows": [], "missing": "brain92 <was> not found"}}
    (board,) = boards([made.system("none", measures=told), made.system("bit_depth", measures=told)])
    text = str(_similarity.section(board, 0))
    assert text.count("Not measured: brain92 &lt;was&gt; not found") == 1
    assert "<svg" not in text
    assert "Not measured" in str(_similarity.detail(board.rows[0]))


def test_without_measures_nothing_is_shown(made):
    (board,) = boards([made.system("none"), made.system("bit_depth")])
    assert _similarity.section(board, 0) is None
    assert _similarity.detail(board.rows[0]) is None
    assert similarity.columns(board.rows[0]) == {}


def test_columns_for_spreadsheets(made):
    (board,) = boards([made.system("none", **measured(0.25))])
    found = similarity.columns(board.rows[0])
    assert found["similarity_human_it"] == 0.25
    assert found["similarity_human_it_low"] == pytest.approx(0.2)
    assert found["similarity_human_it_layer"] == "body.9"


@pytest.mark.parametrize(
    "measures",
    [
        None,
        3,
        {"neural_similarity": None},
        {"neural_similarity": {"measure": "neural_similarity", "rows": 7, "missing": 4}},
        {"neural_similarity": {"measure": "neural_similarity", "rows": [{"name": "x"}, None, {"value": 1}]}},
        measured(math.nan)["measures"],
        measured(1e300)["measures"],
        measured(0.2, low=-1e300, high=1e300)["measures"],
        measured(0.2, low=None, high="a", ceiling_low=None, layer=None, people="x")["measures"],
        measured(0.2, region="</svg><script>alert(1)</script>")["measures"],
        {"other": {"measure": "other", "rows": [{"name": "a", "value": 1}]}},
    ],
)
def test_malformed_records_do_no_harm(made, measures):
    (board,) = boards([made.system("none", measures=measures), made.system("bit_depth", measures=measures)])
    text = f"{_similarity.section(board, 0)}{_similarity.detail(board.rows[0])}"
    assert "<script" not in text
    assert "nan" not in text
    assert "None</" not in text


@pytest.mark.parametrize(("clean", "robust"), [(1.0, 0.0), (0.5, 0.5), (0.95, 0.05)])
def test_systems_that_are_all_alike_can_be_drawn(made, clean, robust):
    metrics = {
        n: {"value": v, "low": v, "high": v} for n, v in (("clean_accuracy", clean), ("robust_accuracy", robust))
    }
    (board,) = boards([made.system(name, metrics=metrics, **measured(0.2)) for name in ("a", "b")])
    text = str(_similarity.section(board, 0))
    assert text.count("<circle") == 4
    assert "nan" not in text
