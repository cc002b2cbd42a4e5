"""The study of Jamil et al. on networks whose maps are known, and its report."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from attacks.carlini_wagner import CarliniWagner
from attacks.fgsm import FGSM
from attacks.pgd import PGD
from geometry.representations.linear_map import least_squares_map
from geometry.representations.ridge_path import RidgePath
from harness.draws import CounterDraws
from harness.spec import resolve
from harness.types import Spec, Split
from leaderboard.papers._jamil_maps import (
    Embeddings,
    Subject,
    Thirds,
    auroc,
    detection,
    detector,
    scored,
    through,
)
from leaderboard.papers._jamil_variance import two_way
from leaderboard.papers._markdown import printed
from leaderboard.papers.jamil import Jamil, averaged, draw, report, studies
from leaderboard.papers.jamil_interpolation import JamilInterpolation


class Net(nn.Module):
    """Two layers of fixed random weights; `turn` turns the embedding without changing the function."""

    def __init__(self, seed, width=8, turn=None):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(25, width, generator=generator) / 2.5
        self.last = torch.randn(width, 3, generator=generator)
        self.turn = torch.eye(width) if turn is None else turn

    def features(self, x):
        return (x.flatten(1) - 0.5).matmul(self.first).tanh() @ self.turn

    def head(self, features):
        return features @ self.turn.T @ self.last

    def forward(self, x):
        return self.head(self.features(x))


class Toy:
    """Random images on the grid of bytes, labelled by Net(0)."""

    num_classes = 3

    def split(self, part):
        assert part == "test"
        x = torch.randint(256, (360, 1, 5, 5), generator=torch.Generator().manual_seed(1)).float() / 255
        index = torch.arange(360)
        return Split(x, Net(0)(x).argmax(1), index, 3, 255, CounterDraws("toy", index))


NETWORKS = (Spec.of("victim", "cnn"), Spec.of("victim", "cnn", seed=1), Spec.of("victim", "mlp"))


def _run(attacker, **parameters):
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2))).Q
    study = Jamil(**{**{"networks": NETWORKS, "inputs": 300, "splits": 2, "adaptive_inputs": 24}, **parameters})
    networks = [Net(0), Net(0, turn=turn), Net(3, width=6)]
    torch.manual_seed(0)
    victim = {} if study.victim is None else {"victim": Net(7)}
    return study.run(dataset=Toy(), networks=networks, attack=attacker, adaptive=PGD(steps=15), **victim)


@pytest.fixture(scope="module")
def tables():
    return {
        "fgsm": _run(FGSM(), epsilon=0.1),
        "pgd": _run(PGD(steps=5, random_start=False), epsilon=0.1, attack=Spec.of("attack", "pgd", steps=5)),
        "carlini_wagner": _run(
            CarliniWagner(steps=20, constants=3, constant=1.0),
            norm="l2",
            epsilon=0.5,
            attack=Spec.of("attack", "carlini_wagner"),
        ),
    }


def _pair(table, source, target, mapping="least squares"):
    (row,) = [r for r in table if (r["source"], r["target"], r.get("map", mapping)) == (source, target, mapping)]
    return row


def test_every_pair_is_there(tables):
    for result in tables.values():
        assert len(result["pairs"]) == 18
        assert len(result["splits"]) == 36
        assert len(result["spectra"]) == 36
        assert len(result["controls"]) == len(result["adaptive"]) == 9
        assert [row["network"] for row in result["networks"]] == ["cnn", "cnn(seed=1)", "mlp"]
        json.dumps(result, allow_nan=False)


def test_a_turned_embedding_is_mapped_exactly(tables):
    result = tables["fgsm"]
    turned = _pair(result["pairs"], "cnn", "cnn(seed=1)")
    native = _pair(result["pairs"], "cnn(seed=1)", "cnn(seed=1)")
    assert turned["mse"] < 1e-8
    assert turned["r2"] == pytest.approx(1.0)
    assert turned["auroc"] == pytest.approx(native["auroc"], abs=2e-3)
    assert turned["head_accuracy"] == pytest.approx(result["networks"][1]["adversarial_accuracy"], abs=0.1)


@pytest.mark.parametrize("mapping", ["least squares", "ridge"])
def test_the_diagonal_is_the_identity(tables, mapping):
    for name in ("cnn", "cnn(seed=1)", "mlp"):
        row = _pair(tables["pgd"]["pairs"], name, name, mapping)
        assert row["mse"] < 1e-10
        assert row["r2"] == pytest.approx(1.0)


def test_detection_agrees_with_mapping_first_and_scoring_then():
    """The target's detector on explicitly mapped rows against its composition with the map, for embeddings and spectra."""
    generator = torch.Generator().manual_seed(0)
    source, target = (
        Subject(
            name,
            Net(seed),
            torch.zeros(0),
            Embeddings(*(torch.randn(90, 5 + seed, generator=generator).double() for _ in range(2))),
        )
        for name, seed in (("a", 1), ("b", 2))
    )
    thirds = Thirds.of(90, 0, torch.device("cpu"))
    plane = detector(target.embeddings, thirds)
    rows, targets = source.embeddings[thirds.mapping].both, target.embeddings[thirds.mapping].both
    learned = least_squares_map(rows, targets)
    held_out = source.embeddings[thirds.held_out]
    expected = auroc(plane(learned(held_out.clean)), plane(learned(held_out.adversarial)))
    assert detection(through(plane, learned), held_out)["auroc"] == pytest.approx(expected)
    assert detection(scored(RidgePath.of(rows), plane, targets, 0.0), held_out)["auroc"] == pytest.approx(expected)


def test_other_networks_are_mapped_in_part_and_unpaired_rows_not(tables):
    row = _pair(tables["fgsm"]["pairs"], "mlp", "cnn")
    assert 0.05 < row["r2"] < 0.95
    assert row["mse"] > 0
    assert _pair(tables["fgsm"]["controls"], "mlp", "cnn")["r2_unpaired"] < 0.05


def test_attacks_lower_accuracy_within_their_ball(tables):
    for name, result in tables.items():
        for row in result["networks"]:
            assert row["adversarial_accuracy"] < row["accuracy"]
        if name != "carlini_wagner":
            assert all(row["perturbation_linf"] <= 0.1 for row in result["networks"])


def test_one_fixed_set_is_shared_by_all(tables):
    shared = _run(PGD(steps=5), epsilon=0.1, victim=Spec.of("victim", "cnn", seed=7), adaptive_inputs=0, splits=1)
    assert len({row["perturbation_l2"] for row in shared["networks"]}) == 1
    assert shared["adaptive"] == []
    assert shared["setting"][0]["made against"] == "cnn(seed=7)"
    assert shared["networks"][0]["adversarial_accuracy"] > tables["pgd"]["networks"][0]["adversarial_accuracy"]


def test_knowing_the_detector_cannot_help_it(tables):
    for result in tables.values():
        for row in result["adaptive"]:
            for rate in ("1", "5"):
                assert row[f"robust_adaptive_at_{rate}"] <= row[f"robust_oblivious_at_{rate}"]
                assert row[f"robust_oblivious_at_{rate}"] <= row[f"accuracy_at_{rate}"] <= row["undefended_accuracy"]
            assert row["inputs"] == 24
    rows = tables["fgsm"]["adaptive"]
    known = [r for r in rows if r["auroc_adaptive"] is not None and r["auroc_strong_oblivious"] is not None]
    assert sum(r["auroc_adaptive"] - r["auroc_strong_oblivious"] for r in known) < 0


def test_repeats(tables):
    assert _run(FGSM(), epsilon=0.1) == tables["fgsm"]


def test_networks_without_a_last_layer_are_refused():
    with pytest.raises(TypeError, match="no features and no head"):
        Jamil(networks=NETWORKS[:1]).run(dataset=Toy(), networks=[nn.Flatten()], attack=FGSM(), adaptive=PGD())


def test_averages_by_name():
    rows = [{"source": "a", "auroc": 0.5, "mse": 1.0}, {"source": "a", "auroc": 0.7, "mse": 3.0}]
    (row,) = averaged(rows, ("source",))
    assert row == {"source": "a", "auroc": pytest.approx(0.6), "mse": 2.0, "auroc_sd": pytest.approx(0.1)}


def test_studies_cover_both_data_sets_and_every_attack():
    specs = studies()
    found = {(dict(s.params).get("dataset"), dict(s.params)["attack"].name) for s in specs if s.name == "jamil"}
    names = {(dataset.name if dataset else None, attack) for dataset, attack in found}
    assert {(d, a) for d in ("fashion_mnist", "cifar10") for a in ("fgsm", "pgd")} <= names
    assert ("cifar10", "carlini_wagner") in names
    assert [s.name for s in specs].count("jamil_interpolation") == 2
    assert all(resolve(spec) for spec in specs)


class Wide(nn.Sequential):
    """A network of which one layer is wide; its embedding is the first eight features of that layer."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        wide = nn.Linear(25, 60)
        wide.weight.data = torch.randn(60, 25, generator=generator) / 2.5
        super().__init__(nn.Flatten(), wide, nn.Tanh())
        self.last = torch.randn(8, 3, generator=generator)

    def features(self, x):
        return super().forward(x - 0.5)[:, :8]

    def head(self, features):
        return features @ self.last

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture(scope="module")
def interpolation():
    study = JamilInterpolation(
        networks=NETWORKS,
        layer="2",
        inputs=360,
        splits=2,
        exact=60,
        ratios=(0.5, 0.9, 1.0, 1.33, 3.0, 50.0),
        epsilon=0.1,
    )
    return study.run(dataset=Toy(), networks=[Wide(0), Net(1, width=40), Net(3)], attack=FGSM())


def test_subsets_have_the_rows_that_were_asked_for(interpolation):
    assert {row["source"]: row["width"] for row in interpolation["sources"]} == {
        "cnn": 8.0,
        "cnn 2": 60.0,
        "cnn(seed=1)": 40.0,
        "mlp": 8.0,
    }
    wide = [row for row in interpolation["sweep"] if row["source"] == "cnn 2"]
    assert {row["ratio"]: row["rows"] for row in wide} == {0.5: 30, 0.9: 54, 1.0: 60, 1.33: 80, 3.0: 180}
    assert {row["rows"] for row in interpolation["whole"]} == {240}
    json.dumps(interpolation, allow_nan=False)


def test_fewer_rows_than_features_are_fitted_exactly_and_a_ridge_is_no_worse_at_the_peak(interpolation):
    found = {(r["map"], r["ratio"]): r for r in interpolation["sweep"] if r["source"] == "cnn 2"}
    assert found["least squares", 0.5]["fitted_r2"] == pytest.approx(1.0)
    assert found["ridge", 1.0]["r2"] > found["least squares", 1.0]["r2"]
    assert found["least squares", 3.0]["r2"] > found["least squares", 1.0]["r2"]


def test_a_planted_decomposition_is_found():
    """Additive effects leave no interaction; effects of one side alone leave nothing to the other."""
    random = np.random.default_rng(0)
    source, target = random.normal(size=6), random.normal(size=6)
    both = two_way(target[:, None] + source[None])
    assert both["interaction"] == pytest.approx(0.0, abs=1e-12)
    assert both["source"] + both["target"] == pytest.approx(1.0)
    alone = two_way(np.broadcast_to(source[None], (6, 6)))
    assert alone["source"] > 0.97  # the missing diagonal leaves a trace of it in the rows
    assert alone["target"] < 0.03
    noise = np.mean([two_way(random.normal(size=(8, 8)))["interaction"] for _ in range(200)])
    assert noise == pytest.approx((56 - 15) / 55, abs=0.02)


def test_the_decomposition_is_that_of_statsmodels_where_nothing_is_missing():
    """With the diagonal taken into account by ordinary least squares: sums of squares of nested models."""
    random = np.random.default_rng(1)
    values = random.normal(size=(5, 5)) + 2 * random.normal(size=5)
    rows, columns = np.nonzero(~np.eye(5, dtype=bool))
    y = values[rows, columns]

    def left(*factors):
        design = np.column_stack([np.ones(len(y)), *(np.eye(5)[f] for f in factors)])
        return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())

    total, found = left(), two_way(values)
    first = (left() - left(columns) + left(rows) - left(rows, columns)) / 2
    assert found["source"] == pytest.approx(first / total)
    assert found["interaction"] == pytest.approx(left(rows, columns) / total)


def test_the_paper_s_variance_is_mostly_the_target_s_for_errors_and_the_source_s_for_detection():
    figures = printed("jamil")
    errors = np.log(np.array(list(figures["mse"]["targets"].values())) + np.eye(5))
    detection = np.array(list(figures["auroc"]["targets"].values()))
    assert two_way(errors)["target"] > 0.75
    assert two_way(detection)["source"] > two_way(detection)["target"]


@pytest.fixture(scope="module")
def results(tables, interpolation):
    big = [copy.deepcopy(tables[name]) for name in ("fgsm", "fgsm", "pgd")]
    for result, dataset in zip(big, ("fashion_mnist", "cifar10", "fashion_mnist"), strict=True):
        result["setting"][0] |= {"dataset": dataset}
        result["adaptive"] = []
    return [*big, *tables.values(), interpolation]


def test_report_shows_ours_beside_theirs(results):
    text = report(results)
    assert "same procedure, other data" in text
    assert "nan" not in text
    for word in (
        "EfficientNet-B0",
        "CNN (seed=1)",
        "0.907",
        "carlini_wagner",
        "adaptive",
        "least squares",
        "ridge",
        "interpolation",
    ):
        assert word in text
    for line in text.splitlines():
        assert not math.isclose(line.count("|"), 1)


def test_report_goes_through_json(results):
    assert report(json.loads(json.dumps(results))) == report(results)


def test_pictures_are_drawn(results, tmp_path):
    found = draw(tmp_path, json.loads(json.dumps(results)))
    assert len(found) >= 3
    for title, path in found:
        assert title
        assert path.stat().st_size > 5000
