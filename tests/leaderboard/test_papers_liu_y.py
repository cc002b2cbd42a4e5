"""The study of Liu et al. on small networks whose cells are known, and its report."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import nn

from attacks.fgsm import FGSM
from geometry.polyhedra.traverse import traverse
from harness.draws import CounterDraws
from harness.types import Spec, Split
from leaderboard.papers import _liu_y_images, _liu_y_toys
from leaderboard.papers.liu_y import LiuY, report, studies


def network(depth, width, seed=0):
    torch.manual_seed(seed)
    widths = [25] + [width] * depth
    hidden = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, 3)).eval().requires_grad_(False)


class Images:
    """Random images on the grid of bytes, labelled by a network."""

    num_classes = 3

    def split(self, part):
        seed, number = {"train": (1, 60), "test": (2, 40)}[part]
        x = torch.randint(256, (number, 1, 5, 5), generator=torch.Generator().manual_seed(seed)).float() / 255
        index = torch.arange(number)
        return Split(x, network(3, 12)(x).argmax(1), index, 3, 255, CounterDraws("toy", index))


def mlp(depth, width):
    return Spec.of("victim", "mlp", depth=depth, width=width)


SMALL = {
    "dataset": Spec.of("dataset", "digits"),
    "structures": (mlp(3, 12),),
    "polyhedra": (mlp(2, 10),),
    "depths": (mlp(1, 12), mlp(2, 12)),
    "epsilons": (0.1,),
    "inputs": 20,
    "pairs": 30,
    "facets": 2,
    "balls": 2,
    "toys": 2,
    "toy_epochs": 2,
}


@pytest.fixture(scope="module")
def tables():
    _run = pytest.MonkeyPatch()
    _run.setattr(_liu_y_toys, "SHAPES", ((2, 5),))
    _run.setattr("leaderboard.papers.liu_y.table_1", lambda runs, epochs: _liu_y_toys.table_1(runs, epochs, ((2, 5),)))
    found = LiuY(**SMALL).run(
        dataset=Images(),
        structures=[network(3, 12)],
        polyhedra=[network(2, 10)],
        depths=[network(1, 12), network(2, 12)],
        attack=FGSM(),
    )
    _run.undo()
    return found


def test_tables_are_data(tables):
    json.dumps(tables, allow_nan=False)
    assert {"table_1", "table_2", "table_3", "table_4", "table_5", "table_6", "figure_1", "figure_2"} <= set(tables)


def test_neighbours_are_others_and_share_their_class_at_least_by_chance(tables):
    euclidean, hamming = tables["table_3"]
    x = Images().split("test").x
    other = _liu_y_images.nearest_inputs(x, x, itself=True)
    assert not (other == torch.arange(40)).any()
    distance = torch.cdist(x.double().flatten(1), x.double().flatten(1)).fill_diagonal_(torch.inf)
    torch.testing.assert_close(other, distance.argmin(1))
    assert hamming["test"] >= euclidean["test"]
    assert hamming["test_accuracy"] == 1.0


def test_the_nearest_other_pattern_is_not_the_input_itself():
    bits = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    distance, other = _liu_y_images.nearest_others(bits)
    assert distance.tolist() == [0, 0, 2, 1]
    assert other.tolist() == [1, 0, 3, 0]


def test_longer_steps_flip_more(tables):
    assert {row["set"] for row in tables["table_4"]} == {"train", "test", "fgsm 0.1", "signs 0.1"}
    for row in tables["table_4"]:
        assert 0 < row["mean_0.5"] < row["mean_0.75"] < row["mean_1"]


def test_flips_and_distances_have_one_parity_and_bisection_no_more_cells(tables):
    (row,) = tables["table_5_all"]
    assert row["parity_holds"] == 1.0
    assert len(tables["table_5"]) == 6
    for pair in tables["table_5"]:
        assert pair["hamming"] <= pair["flips"]
        assert pair["hamming"] + 1 <= pair["cells"] <= pair["flips"] + 1
        assert pair["cells_by_bisection"] <= pair["cells"]


def test_one_layer_has_as_many_cells_as_bits_that_differ(tables):
    one, _ = tables["figure_4"]
    x = Images().split("train").x
    other = _liu_y_images.nearest_inputs(x, x, itself=True)[:30]
    flat = network(1, 12)[1](x.flatten(1)) > 0
    differ = (flat[:30] != flat[other]).sum(1)
    assert one["mean"] == pytest.approx(float(differ.double().mean()) + 1)
    assert one["max"] == int(differ.max()) + 1


def test_balls_fit_the_box_and_reach_further_than_the_nearest_plane(tables):
    for row in tables["table_6"]:
        assert 0 < row["min"] <= row["mean"] <= row["max"] <= 0.5
        assert row["inputs"] == 2
        assert row["nearest_plane"] > 0


def test_facets_are_some_of_the_units(tables):
    (row,) = tables["table_2"]
    assert 0 < row["min"] <= row["max"] <= row["units"] == 20


def test_networks_trained_side_by_side_are_the_networks_that_are_counted():
    toy = _liu_y_toys.Toy(2, 6, 2, 0.4, 2000, 3, 6)
    networks, errors = toy.trained()
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = x.square().sum(1) - 0.4
    for one, error in zip(networks, errors.tolist(), strict=True):
        own = (one(x[:200].double())[:, 0] - y[:200]).square().mean()
        assert float(own) == pytest.approx(error, rel=1e-4)
    assert float(errors.min()) < 0.1
    assert len({tuple(one[0].weight.flatten().tolist()) for one in networks}) == 3


def test_toys_are_counted_in_the_plane_and_in_the_box(tables):
    assert len(tables["figure_1"]) == 2
    for row in tables["figure_1"]:
        assert row["box"] <= row["plane"] == row["bounded"] + row["unbounded"]
    networks, _ = _liu_y_toys.Toy(2, 10, 2, 0.4, 10_000, 2, 2).trained()
    assert [len(traverse(one)) for one in networks] == [row["plane"] for row in tables["figure_1"]]


def test_failed_runs_are_counted_and_left_out():
    (row,) = _liu_y_toys.table_1(2, 1, ((6, 1),))
    assert row["failed"] == 2
    assert row["mean"] is row["mse_mean"] is row["box_mean"] is None


def test_zero_leaves_tables_out():
    sizes = SMALL | {"pairs": 0, "facets": 0, "balls": 0, "toys": 0, "polyhedra": (), "depths": ()}
    found = LiuY(**sizes).run(dataset=Images(), structures=[network(3, 12)], attack=FGSM())
    assert set(found) == {"setting", "table_3", "table_4"}
    assert "Table 3" in report([found])
    assert "Table 5" not in report([found])


def test_three_studies_one_a_data_set():
    data = [dict(spec.params).get("dataset", Spec.of("dataset", "mnist")).name for spec in studies()]
    assert data == ["mnist", "fashion_mnist", "cifar10"]


def test_report_shows_ours_beside_theirs_and_goes_through_json(tables):
    text = report([tables])
    assert text == report(json.loads(json.dumps([tables], sort_keys=True)))
    assert "nan" not in text
    for word in ("658.3", "95.58", "52.97", "351", "0.097", "2212", "3x12", "parity"):
        assert word in text
