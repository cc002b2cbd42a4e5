"""The studies of Pickard et al. on made-up matrices and small networks, the grid, and the report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from geometry.representations.categorical import category_matrices, category_matrix
from geometry.representations.dissimilarity import dissimilarity_matrix
from harness.api import plan_of, read_grid, study
from harness.types import Spec
from leaderboard.papers import pickard
from leaderboard.papers._pickard_fiedler import fiedler_rows, pairs
from leaderboard.papers._pickard_robustness import beside, differences, mean_interval, systems
from leaderboard.papers._pickard_similarity import Brain, Model, best, halves, layer_rows, table_2

needs_data = pytest.mark.skipif(
    not (Path(os.environ.get("HARNESS_DATA", "")) / "RSA92").is_dir(), reason="HARNESS_DATA has no folder RSA92"
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.arange(40) % 4


@pytest.fixture(scope="module")
def brain():
    patterns = normal(4, 30)[LABELS] + 0.8 * normal(40, 30, seed=1)
    people = torch.stack([dissimilarity_matrix(patterns + normal(40, 30, seed=s)) for s in range(2, 6)])
    regions = {"human_it": people.mean(0), "monkey_it": dissimilarity_matrix(patterns)}
    return Brain(regions, {"human_it": people, "monkey_it": people[:0]}, LABELS)


@pytest.fixture(scope="module")
def models(brain):
    true = brain.regions["monkey_it"]
    noise = dissimilarity_matrix(normal(40, 30, seed=9))
    return [Model("good", {"first": noise, "second": (true + noise) / 2}, {}), Model("bad", {"only": noise}, {})]


def test_the_layer_is_chosen_where_it_is_not_reported(brain, models):
    rows = list(halves(models, brain, splits=3))
    found = {(row["region"], row["model"]): row for row in rows}
    assert len(rows) == 2 * 3
    assert found["monkey_it", "good"]["layer"] == "second"
    assert found["monkey_it", "good"]["chosen"] == 1
    assert found["monkey_it", "good"]["pearson"] > 0.5 > abs(found["monkey_it", "bad"]["pearson"]) + 0.2
    assert found["human_it", "good"]["people"] < found["human_it", "good"]["spearman"]
    assert found["monkey_it", "categorical"]["pearson"] > 0.5
    assert found["monkey_it", "good"]["people"] is None


def test_table_2_is_about_the_layer_nearest_to_the_categories(brain, models):
    rows = {(row["region"], row["model"]): row for row in table_2(models, brain, draws=50)}
    assert rows["human_it", "good"]["layer"] == "second"
    for row in rows.values():
        assert row["low"] <= row["pearson"] <= row["high"]
        assert 0 < row["p"] <= 1
    assert rows["monkey_it", "categorical"]["p"] == pytest.approx(2 / 51)
    assert len(list(layer_rows(models, brain))) == 2 * 3
    assert best(models[0], category_matrix(LABELS)) == "second"


def test_layers_with_silent_stimuli_are_left_out_with_the_reason():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        network[1].bias.fill_(-100.0)
    model = Model.of("dead", network, torch.rand(6, 1, 3, 3))
    assert set(model.layers) == {"0", "1"}
    assert "is constant" in model.left_out["2"]
    assert "alike" in model.left_out["3"]


def test_fiedler_rows_say_what_fails():
    labels = torch.arange(20) % 2
    affinity = torch.where(labels[:, None] == labels, 0.8, -0.3).double()
    noise = 0.01 * normal(20, 20)
    matrix = (1 - affinity + noise + noise.T).fill_diagonal_(0)
    cuts = list(pairs(labels, ["one", "two"], labels == 1))
    assert [name for name, _, _ in cuts] == ["animate-inanimate", "one-two"]
    rows = list(fiedler_rows({"made": matrix}, cuts, draws=40))
    for row in rows:
        assert row["complement"] < 0.8
        assert row["beside"] == row["halved"] == 1
        assert row["majority"] == 0.5
        assert row["constant"] == ["complement"]
        assert "clipped" in row["degenerate"]
    json.dumps(rows)


def record(defense, victim, clean, robust):
    threat = {"norm": "linf", "epsilon": 0.02, "robust_accuracy": {"value": robust}}
    return {
        "defense": defense,
        "victim": victim,
        "dataset": "digits",
        "inputs": 20,
        "metrics": {"clean_accuracy": {"value": clean}},
        "threats": [threat],
    }


RECORDS = [
    record(defense, f"cnn(seed={seed})", 0.9, robust + 0.01 * seed)
    for seed in range(3)
    for defense, robust in (
        ("none", 0.3),
        ("rdm_fine_tuning(strength=0)", 0.3),
        ("rdm_fine_tuning(dataset=brain92(grey=True, size=28), loss=pearson, strength=3, target=brain)", 0.35),
        (
            "rdm_fine_tuning(dataset=brain92(grey=True, size=28), loss=pearson, shuffled=True, strength=3, target=brain)",
            0.34,
        ),
    )
]


def test_differences_are_paired_by_seed():
    found = systems(RECORDS)
    assert set(found) == {
        ("none", False),
        ("plain fine-tuning", False),
        ("brain, pearson", False),
        ("brain, pearson", True),
    }
    header, lines = beside(found)
    assert header == ["system", "stimuli", "seeds", "clean", "linf 0.02"]
    assert lines[2][:4] == ["brain, pearson", "own", 3, "90.0 (90.0 to 90.0)"]
    assert lines[2][4].startswith("36.0 (33.5 to 38.5")  # sd 1, t 4.303
    _, gaps = differences(found)
    assert [line[0] for line in gaps] == [
        "brain, pearson − control",
        "brain, pearson − plain",
        "brain, pearson: control − plain",
    ]
    assert [line[2] for line in gaps] == ["1.0 (1.0 to 1.0)", "5.0 (5.0 to 5.0)", "4.0 (4.0 to 4.0)"]
    assert mean_interval([3.0]) == "3.0"
    assert mean_interval([]) is None


@needs_data
def test_the_grid_has_controls_for_every_target():
    plan = plan_of(read_grid("rdm_robustness"))
    names = {system.defense for system in plan.pipelines}
    assert len(plan.pipelines) == 5 * 15
    assert not plan.skips
    shuffled = {name for name in names if "shuffled=True" in name}
    assert len(shuffled) == 6
    assert all(name.replace("shuffled=True, ", "") in names for name in shuffled)
    assert len(plan_of(read_grid("rdm_robustness", size="smoke")).pipelines) == 6
    assert pickard.grids()[0] == read_grid("rdm_robustness")


@needs_data
def test_studies_and_report(tmp_path):
    small, stimuli = Spec.of("victim", "mlp", width=16, epochs=1), Spec.of("dataset", "brain92", size=8, grey=True)
    digits = Spec.of("dataset", "digits")
    first = Spec.of("study", "pickard", dataset=digits, stimuli=stimuli, networks=(small,), draws=20, splits=2)
    part = Spec.of("defense", "rdm_fine_tuning", teacher=small, updates=3, teacher_updates=2)
    second = Spec.of(
        "study",
        "pickard_targets",
        dataset=digits,
        stimuli=stimuli,
        victim=small,
        part=(("defense", part),),
        cases=(("brain", "cka", ""), ("gabor", "atanh", ""), ("teacher", "pearson", "")),
        inputs=20,
    )
    results = [study(spec, home=tmp_path) for spec in (first, second)]
    json.dumps(results, allow_nan=False)
    known = [row for row in results[0]["known"] if row["known"] is not None]
    assert len(known) == 12
    for row in known:
        assert row["value"] == pytest.approx(row["known"], abs=6e-4)
    animate = {row["matrix"]: row for row in results[0]["fiedler"] if row["pair"] == "animate-inanimate"}
    assert animate["human_it"]["complement"] == pytest.approx(0.935, abs=5e-4)
    assert animate["monkey_it"]["clipped"] == pytest.approx(0.913, abs=5e-4)
    faces = {(r["matrix"], r["pair"]): r for r in results[0]["fiedler"]}
    assert faces["monkey_it", "face-artificial"]["complement"] == pytest.approx(0.578, abs=5e-4)
    assert faces["monkey_it", "face-artificial"]["clipped"] == 1
    assert len(results[1]["targets"]) == 2 + 3 * 2
    text = pickard.report(results, [RECORDS])
    for words in ("| AlexNet | 0.054 |", "brain, pearson − control", "monkey~human, Spearman", "shuffled"):
        assert words in text
    pictures = pickard.draw(tmp_path, results)
    assert all(path.is_file() for _, path in pictures)
    assert len(pictures) == 2


def test_categories_make_a_model_of_their_own():
    weights = torch.tensor([0.5, 1.0, 0.2, 0.3], dtype=torch.float64)
    matrix = torch.tensordot(weights, category_matrices(LABELS), 1)
    made = Brain({"made": matrix}, {"made": matrix.expand(2, -1, -1)}, LABELS)
    (row,) = halves([], made, splits=2)
    assert row["pearson"] == pytest.approx(1)
