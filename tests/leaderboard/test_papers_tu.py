"""The study of Tu et al. on a few digits, and its report."""

from __future__ import annotations

import json

import pytest

from harness.api import study
from harness.types import Spec
from leaderboard.papers.tu import draw, report, studies

PATCH = {"height": 3, "width": 4, "row": 2, "column": 2, "steps": 4}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    parts = (
        ("classifier", Spec.of("defense", "vae_classifier", width=4, epochs=1, dim=6)),
        ("purification", Spec.of("defense", "elbo_purification", radius=None, restarts=1, surrogate_steps=2)),
    )
    attacks = {name: Spec.of("attack", name, **PATCH) for name in ("patch_pgd", "patch_nag")}
    spec = Spec.of(
        "study", "tu", dataset=Spec.of("dataset", "digits"), parts=parts, inputs=24, numbers=(1, 3), side=4, **attacks
    )
    return study(spec, home=tmp_path_factory.mktemp("tu"))


def test_attacks_lower_accuracy_and_the_worst_is_the_least(tables):
    rows = {(row["attack"], row["knows"]): row for row in tables["table_1"]}
    clean, oblivious = rows["clean", ""], rows["patch_pgd", "oblivious"]
    assert clean["after none"]["value"] > 0.7
    assert oblivious["after none"]["value"] < clean["after none"]["value"] - 0.1
    worst = rows["worst", "all"]["after 3"]["value"]
    assert worst <= min(row["after 3"]["value"] for row in tables["table_1"] if row["attack"] != "worst")
    assert {knows for _, knows in rows} == {"", "oblivious", "surrogate", "identity", "bound", "all"}


def test_the_report_shows_ours_beside_theirs(tables):
    text = report([json.loads(json.dumps(tables, sort_keys=True))])
    assert "| attack | attacker | no purification | 1 steps | 3 steps |" in text
    assert "3x4 pixels" in text
    assert "75.75" in text
    assert [spec.name for spec in studies()] == ["tu", "tu_points", "tu_densities", "tu_grid"]


def test_accuracy_by_steps_is_drawn(tables, tmp_path):
    ((title, path),) = draw(tmp_path, [tables])
    assert "number of purification steps" in title
    assert path.stat().st_size > 5000
