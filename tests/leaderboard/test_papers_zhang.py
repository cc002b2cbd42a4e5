"""The study of Zhang et al. on networks trained for a moment, and its report."""

from __future__ import annotations

import json
from math import asin, pi

import pytest
import torch

from geometry.risk.decomposition import CAUSES
from geometry.risk.surroundings import box_grid
from leaderboard.papers import _zhang_toys
from leaderboard.papers.zhang import Zhang, report, studies


@pytest.fixture(scope="module")
def tables():
    small = pytest.MonkeyPatch()
    small.setattr("leaderboard.papers.zhang.theorems", lambda: iter([{"example": "none", "known": 1.0}]))
    small.setattr(_zhang_toys, "NORMS", {"linf": float("inf")})
    small.setattr(_zhang_toys, "box_grid", lambda low, high, spacing: box_grid(low, high, spacing=3 * spacing))
    found = Zhang(circle_epochs=4, plane_epochs=1, circle_inputs=100, plane_inputs=20).run(dataset=None)
    small.undo()
    return found


def test_tables_are_data(tables):
    json.dumps(tables, allow_nan=False)
    assert len(tables["table_1"]) == 2 * 3 * 9
    assert len(tables["table_2"]) == 2 * 3 * 4


def test_the_rule_has_its_closed_form(tables):
    for row in tables["table_1"]:
        if row["classifier"] == "labels":
            sides = 2 if row["boundary"] == "single" else 4
            assert row["adversarial"] == pytest.approx(sides * asin(row["epsilon"]) / pi, abs=0.02 * sides)
            assert row["standard"] == row["normal"] == row["nearby_normal"] == 0


def test_causes_add_up_and_risks_grow(tables):
    for row in [*tables["table_1"], *tables["table_2"]]:
        assert sum(row[f"by_{cause}"] for cause in CAUSES) == pytest.approx(row["adversarial"])
        assert row["standard"] <= row["adversarial"]
        assert row["in_manifold"] <= row["in_manifold_twice"]


def test_networks_learn_the_circle_and_adversarial_training_sees_attacked_inputs():
    toy = next(_zhang_toys.circle(epochs=30, inputs=200))
    for budget in (0.0, 0.1):
        score = _zhang_toys.trained(toy, budget)
        assert float((score(toy.x).sign() == toy.rule(toy.x).sign()).double().mean()) > 0.95
    network = torch.nn.Linear(2, 1)
    x, y = torch.randn(20, 2), torch.ones(20)
    moved = _zhang_toys._attacked(network, x, y, 0.1)
    assert float((moved - x).detach().abs().max()) <= 0.1 + 1e-6
    assert bool((network(moved)[:, 0] <= network(x)[:, 0] + 1e-6).all())


def test_zero_epochs_leave_tables_out_and_the_report_says_nothing_of_them(monkeypatch):
    monkeypatch.setattr("leaderboard.papers.zhang.theorems", lambda: iter([]))
    found = Zhang(circle_epochs=0, plane_epochs=0).run(dataset=None)
    assert found["table_1"] == found["table_2"] == []
    assert "## Circle" not in report([found])


def test_one_study():
    assert [spec.name for spec in studies()] == ["zhang"]


def test_report_shows_ours_beside_theirs_and_goes_through_json(tables):
    text = report([tables])
    assert text == report(json.loads(json.dumps([tables], sort_keys=True)))
    assert "nan" not in text
    for word in ("0.4509", "0.9615", "0.2069", "0.5887", "by nearby-normal", "sqrt(3)"):
        assert word in text
