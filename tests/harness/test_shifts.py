"""Other data sets as shifts: resized, in colour and grey, by classes; and what cannot be matched."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness import api
from harness.data import Data
from harness.perform import resized
from harness.types import Spec

GREY, LARGE, COLOUR = (1, 8, 8), (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize("given", [GREY, LARGE, COLOUR])
@pytest.mark.parametrize("wanted", [GREY, LARGE, COLOUR])
def test_every_pair_of_image_shapes(given, wanted):
    x = torch.rand(4, *given, generator=torch.Generator().manual_seed(0))
    found = resized(x, torch.zeros(2, *wanted))
    assert tuple(found.shape) == (4, *wanted)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    torch.testing.assert_close(found.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=0.05, rtol=0)
    if wanted[0] == 3 and given[0] == 1:
        assert torch.equal(found[:, 0], found[:, 2])
    if given == wanted:
        assert found is x
    if given[0] == 3 and wanted[0] == 1:
        torch.testing.assert_close(resized(x, torch.zeros(1, 1, *given[1:]))[:, 0], x.mean(1))


@pytest.mark.parametrize(
    ("given", "wanted", "words"),
    [
        ((64,), GREY, r"inputs \(64,\) cannot be made \(1, 8, 8\)"),
        (GREY, (2,), r"inputs \(1, 8, 8\) cannot be made \(2,\)"),
        ((3,), (2,), "only images"),
        ((4, 8, 8), COLOUR, "images of 4 channels cannot be shown in 3"),
    ],
)
def test_what_cannot_be_matched_is_said(given, wanted, words):
    with pytest.raises(ValueError, match=words):
        resized(torch.zeros(1, *given), torch.zeros(1, *wanted))


SMALL: dict[str, Any] = {
    "name": "foreign",
    "datasets": [{"digits": {"classes": [0, 1, 2, 3, 4]}}],
    "victims": [{"mlp": {"epochs": 3, "width": 32}}],
    "defenses": ["none", "maximum_softmax"],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["oblivious"]}],
    "shifts": [{"digits": {"classes": [5, 6, 7, 8, 9]}}, {"rendered_vehicles": {"images": 200}}, "gaussian_noise"],
    "inputs": 60,
    "scrutiny": "light",
}


def test_classes_against_classes_and_colour_against_grey(tmp_path):
    result = api.run(SMALL, home=tmp_path, track=False)
    record = next(r for r in result.records if r["defense"] == "maximum_softmax")
    rows = {row["name"].partition("(")[0]: row for row in record["shifts"]}
    assert set(rows) == {"digits", "rendered_vehicles", "gaussian_noise"}
    assert rows["digits"]["name"] == "digits(classes=(5, 6, 7, 8, 9))"
    for row in rows.values():
        assert row["auroc"]["low"] <= row["auroc"]["value"] <= row["auroc"]["high"]
    assert rows["digits"]["auroc"]["low"] > 0.6
    undefended = next(r for r in result.records if r["defense"] == "none")
    assert [set(row) for row in undefended["shifts"]] == [{"name", "accepted"}] * 3


def test_a_shift_of_another_kind_fails_by_name(tmp_path):
    result = api.run(SMALL | {"shifts": ["toy_circle"], "defenses": ["none"]}, home=tmp_path, track=False)
    (record,) = result.records
    assert record["status"] == "failed"
    assert "toy_circle is no shift of digits(classes=(0, 1, 2, 3, 4)): inputs (" in record["failed"][0]["error"]


def test_every_ordered_pair_of_published_sets():
    try:
        names = ("fashion_mnist", "mnist", "kmnist", "cifar10")
        some = [Data(Spec.of("dataset", name), "", "cpu").split("test").x[:5] for name in names]
    except FileNotFoundError:
        pytest.skip("the published data are not at hand")
    for like in some:
        for x in some:
            assert resized(x, like).shape == like.shape
