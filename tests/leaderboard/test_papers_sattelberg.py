"""The study of Sattelberg et al. on few images, its networks on the plane, and its report."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from torch import nn

from harness.draws import CounterDraws
from harness.types import Spec, Split
from leaderboard.papers import _sattelberg_maps, _sattelberg_networks, _sattelberg_pictures, _sattelberg_toys
from leaderboard.papers.sattelberg import Sattelberg, draw, report, studies


class Images:
    """Images of 28x28, dark but for one of three bands and some noise; labelled by the band."""

    num_classes = 3

    def split(self, part):
        seed, number = {"train": (1, 200), "fit": (2, 40), "calibrate": (3, 40), "test": (4, 60)}[part]
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(3, (number,), generator=generator)
        x = torch.rand(number, 1, 28, 28, generator=generator) * 0.3
        for i, label in enumerate(y.tolist()):
            x[i, :, 9 * label : 9 * label + 9] += 0.5
        index = torch.arange(number)
        return Split((x * 255).round() / 255, y, index, 3, 255, CounterDraws("bands", index))


@pytest.fixture(scope="module")
def tables():
    torch.manual_seed(0)
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    plane = pytest.MonkeyPatch()
    plane.setattr(_sattelberg_toys, "POINTS", 2000)
    plane.setattr(_sattelberg_toys, "grid", lambda: _sattelberg_networks.grid(31))
    parts = {"dataset": Spec.of("dataset", "digits"), "others": (Spec.of("victim", "mlp"),)}
    study = Sattelberg(**parts, epochs=6, rows=120, inputs=50, clusters=(1, 5, 1000), runs=1)
    found = study.run(dataset=Images(), others=[other])
    plane.undo()
    return found


def test_tables_are_data(tables):
    json.dumps(tables, allow_nan=False)
    assert [row["network"] for row in tables["networks"]] == ["dense", "conv1", "conv2", "mlp"]
    assert len(tables["table_2"]) == 12


def test_the_networks_learn_what_is_easy(tables):
    assert tables["networks"][0]["accuracy"] > 0.9


def test_every_training_map_is_the_last_line_and_more_clusters_than_maps_are_left_out(tables):
    for row in tables["table_1"]:
        assert row["k"] in (1, 5, 120)
        assert (row["centers"] is None) == (row["k"] == 120)
        assert 0 <= row["random_maps"] <= 1


def test_one_cluster_is_the_null_of_the_mean_row(tables):
    ones = {row["network"]: row["centers"] for row in tables["table_1"] if row["k"] == 1}
    for row in tables["table_2"]:
        assert row["mean_row"] == pytest.approx(ones[row["to"]], abs=0.021)


def test_unrelated_rows_are_explained_worse_by_wrong_pairs(tables):
    for row in tables["table_2"]:
        assert row["from"] != row["to"]
        assert all(0 <= row[name] <= 1 for name in ("mapped", "without_bias", "shuffled", "bias_only"))
        assert row["r2"] <= 1


def test_a_network_mapped_to_its_equal_keeps_its_accuracy():
    torch.manual_seed(0)
    network = _sattelberg_networks.plane((4, 6, 3)).requires_grad_(False)
    x = torch.randn(300, 4)
    data = Split(x, network(x).argmax(1), torch.arange(300), 3)
    one, two = (_sattelberg_maps.Subject.of(name, network, data, data[torch.arange(100)]) for name in "ab")
    row = next(iter(_sattelberg_maps.table_2([one, two], data[torch.arange(100)])))
    assert row["mapped"] == 1.0
    assert row["r2"] == pytest.approx(1.0)
    assert row["mean_row"] < 1.0


def test_standardised_networks_have_the_same_outputs():
    network = _sattelberg_networks.plane((4, 6, 3)).requires_grad_(False)
    x = torch.rand(10, 4)
    standardised = _sattelberg_networks.Standardised(network, 0.4, 0.2)
    torch.testing.assert_close(standardised((x - 0.4) / 0.2), network(x))


def test_convolutional_network_has_320_features():
    network = _sattelberg_networks.convolutional(1, 10).eval()
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert [m.in_features for m in network if isinstance(m, nn.Linear)] == [320, 50]


def test_equation_2_solves_the_exclusive_or_with_three_maps(tables):
    network = _sattelberg_toys.equation_2()
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert network(x)[:, 0].tolist() == [-3.0, -1.0, 1.0, 1.0]
    row = tables["exclusive_or"][0]
    assert [row[name] for name in ("cells", "cells_in_box", "maps_on_grid")] == [3, 3, 3]


def test_maps_and_patterns_on_the_grid_are_no_more_than_cells(tables):
    for row in tables["exclusive_or"]:
        assert row["maps_on_grid"] <= row["cells"]
        assert row["patterns_on_grid"] <= row["cells"]
        assert row["cells_in_box"] <= row["cells"]


def test_disc_and_ring_do_not_meet_and_are_about_equally_large():
    points = _sattelberg_networks.on_grid()
    radius = points.x.norm(dim=1)
    assert float(radius[points.y == 1].max()) < 0.5
    assert float(radius[points.y == 0].min()) > 0.5 * 2**0.5
    assert float(points.y.double().mean()) == pytest.approx(0.5, abs=0.02)


def test_two_studies_one_a_data_set():
    data = [dict(spec.params).get("dataset", Spec.of("dataset", "mnist")).name for spec in studies()]
    assert data == ["mnist", "fashion_mnist"]


def test_report_shows_ours_beside_theirs_and_goes_through_json(tables):
    text = report([tables])
    assert text == report(json.loads(json.dumps([tables], sort_keys=True)))
    assert "nan" not in text
    for word in ("8679", "9838", "7635", "2-8-8-8-2", "bias_only", "conv2"):
        assert word in text


def test_the_training_is_an_animation(tmp_path, monkeypatch):
    monkeypatch.setattr(_sattelberg_pictures, "FRAMES", 2)
    monkeypatch.setattr(_sattelberg_pictures, "POINTS", 200)
    ((title, path),) = draw(tmp_path, [])
    with Image.open(path) as frames:
        assert frames.n_frames == 3
    assert "2-8-8-8-2" in title
