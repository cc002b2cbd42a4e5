"""The study of Jamil et al. on networks whose maps are known, and its report."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from attacks.carlini_wagner import CarliniWagner
from attacks.fgsm import FGSM
from attacks.pgd import PGD
from harness.draws import CounterDraws
from harness.types import Spec, Split
from leaderboard.papers.jamil import Jamil, averaged, report, studies


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
    study = Jamil(networks=NETWORKS, inputs=300, splits=2, adaptive_inputs=24, **parameters)
    networks = [Net(0), Net(0, turn=turn), Net(3, width=6)]
    torch.manual_seed(0)
    return study.run(dataset=Toy(), networks=networks, attack=attacker, adaptive=PGD(steps=15))


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


def _pair(table, source, target, features="embedding"):
    (row,) = [r for r in table if (r["source"], r["target"], r.get("features", features)) == (source, target, features)]
    return row


def test_every_pair_is_there(tables):
    for result in tables.values():
        assert len(result["pairs"]) == 27
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
    control = _pair(result["controls"], "cnn", "cnn(seed=1)")
    assert control["head_accuracy"] == pytest.approx(result["head"][0]["adversarial_accuracy"], abs=0.1)


def test_the_diagonal_is_the_identity(tables):
    for name in ("cnn", "cnn(seed=1)", "mlp"):
        row = _pair(tables["pgd"]["pairs"], name, name)
        assert row["mse"] < 1e-12
        assert row["r2"] == pytest.approx(1.0)


def test_other_networks_are_mapped_in_part_and_unpaired_rows_not(tables):
    row, control = (_pair(tables["fgsm"][t], "mlp", "cnn") for t in ("pairs", "controls"))
    assert 0.05 < row["r2"] < 0.95
    assert row["mse"] > 0
    assert control["r2_unpaired"] < 0.02


def test_attacks_lower_accuracy_within_their_ball(tables):
    for name, result in tables.items():
        for row in result["networks"]:
            assert row["adversarial_accuracy"] < row["accuracy"]
        if name != "carlini_wagner":
            assert all(row["perturbation_linf"] <= 0.1 for row in result["networks"])


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


def test_three_studies_one_an_attack():
    names = [dict(spec.params)["attack"].name for spec in studies()]
    assert names == ["fgsm", "pgd", "carlini_wagner"]


def test_report_shows_ours_beside_theirs(tables):
    text = report(list(tables.values()))
    assert "same procedure, other data" in text
    assert "nan" not in text
    for word in ("EfficientNet-B0", "cnn(seed=1)", "0.907", "carlini_wagner", "adaptive"):
        assert word in text
    for line in text.splitlines():
        assert not math.isclose(line.count("|"), 1)


def test_report_goes_through_json(tables):
    results = list(tables.values())
    assert report(json.loads(json.dumps(results))) == report(results)
