"""The study of Zhang et al. on networks trained for a moment, and its report."""

from __future__ import annotations

import json
from math import asin, pi

import pytest
import torch

from geometry.risk.decomposition import CAUSES
from geometry.risk.surroundings import box_grid
from harness.api import study
from harness.reading import from_mapping
from harness.types import Spec
from leaderboard.papers import _zhang_toys
from leaderboard.papers.zhang import Zhang, draw, grids, report, studies

MANIFOLD = Spec.of("manifold", "pca", dim=6)


@pytest.fixture(scope="module")
def tables():
    small = pytest.MonkeyPatch()
    small.setattr("leaderboard.papers.zhang.theorems", lambda: iter([{"example": "none", "known": 1.0}]))
    small.setattr(_zhang_toys, "NORMS", {"linf": float("inf")})
    small.setattr(_zhang_toys, "box_grid", lambda low, high, spacing: box_grid(low, high, spacing=3 * spacing))
    found = Zhang(circle_epochs=4, plane_epochs=1, circle_inputs=100, plane_inputs=20).run()
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
    found = Zhang(circle_epochs=0, plane_epochs=0).run()
    assert found["table_1"] == found["table_2"] == []
    assert "## Circle" not in report([found], [])


def test_a_study_of_toys_and_one_for_each_grid_of_images():
    assert [spec.name for spec in studies()] == ["zhang", *["zhang_images"] * len(grids())]
    for grid in grids():
        assert from_mapping(grid).inputs == 500


def test_images(tmp_path):
    attacks = {name: Spec.of("attack", name, manifold=MANIFOLD) for name in ("normal", "in_manifold", "latent_pgd")}
    attacks |= {"on_manifold_pgd": Spec.of("attack", "on_manifold_pgd", manifold=MANIFOLD, steps=3)}
    spec = Spec.of(
        "study",
        "zhang_images",
        manifold=MANIFOLD,
        apgd=Spec.of("attack", "pgd", steps=3),
        inputs=40,
        **attacks,
        victim=Spec.of("victim", "mlp", epochs=3),
        epsilon=1.5,
    )
    found = study(spec, home=tmp_path)
    (quality,) = found["manifold"]
    assert quality["dimension"] == 6
    assert 0 < quality["relative"] < 1
    moves = {row["attack"]: row for row in found["moves"]}
    assert set(moves) == {"normal", "in_manifold", "latent_pgd", "on_manifold_pgd", "apgd"}
    assert moves["normal"]["leakage"] > 0.95  # a flat manifold: what is normal is all, but for the box
    assert moves["latent_pgd"]["leakage"] < 0.3
    assert moves["normal"]["farther"] > moves["latent_pgd"]["farther"]
    assert all(0 <= row["share_on_object"] <= 1 for row in moves.values())
    text = report([found], [])
    assert "on_manifold_pgd" in text
    if found["pictures"]:
        ((title, path),) = draw(tmp_path, [found])
        assert "digits" in title
        assert path.stat().st_size > 10_000


def test_report_shows_ours_beside_theirs_and_goes_through_json(tables):
    text = report([tables], [])
    assert text == report(json.loads(json.dumps([tables], sort_keys=True)), [])
    assert "nan" not in text
    for word in ("0.4509", "0.9615", "0.2069", "0.5887", "by nearby-normal", "sqrt(3)"):
        assert word in text
