"""Patches from a grid line to the board; one that is larger than the image fails alone, with both sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import api
from harness.reading import from_mapping

GRID: dict[str, Any] = {
    "name": "patches",
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 3, "width": 32}}],
    "attacks": [{"patch_pgd": {"steps": 4}}, {"patch_nag": {"steps": 4}}, "noise", "grey_patch"],
    "threats": [{"norm": "patch", "epsilons": [2, 3], "knowledge": ["adaptive"]}],
    "inputs": 24,
}


def test_from_the_grid_to_the_record(tmp_path: Path) -> None:
    result = api.run(GRID, home=tmp_path, track=False)
    (record,) = result.records
    assert record["complete"]
    assert record["headline"] == {"norm": "patch", "epsilon": 3.0, "knowledge": "adaptive"}
    robust = {line["epsilon"]: line["robust_accuracy"]["value"] for line in record["threats"]}
    assert robust[3.0] < robust[2.0] <= record["metrics"]["clean_accuracy"]["value"] + 0.1
    searched = [cell for cell in record["cells"] if cell["attack"] in ("patch_pgd", "patch_nag")]
    assert {cell["norm"] for cell in record["cells"]} == {"patch"}
    assert all(1 <= cell["median_distance"] <= cell["epsilon"] for cell in searched)
    assert all(cell["backwards"] > 0 for cell in searched)


def test_a_patch_larger_than_the_image_fails_and_the_run_goes_on(tmp_path: Path) -> None:
    threats = [
        {"norm": norm, "epsilons": [size], "knowledge": ["adaptive"]} for norm, size in (("linf", 0.1), ("patch", 9))
    ]
    changes = {"attacks": ["patch_pgd", "fgsm"], "threats": threats, "inputs": 8}
    result = api.run(GRID | changes, home=tmp_path, track=False)
    words = "a patch of 9×9 pixels is larger than the image of 8×8"
    assert any(words in why for why in result.progress.failed.values())
    assert words in str(result.records[0])
    attacked = [api.plan_of(result.grid).tasks[key].label for key in result.progress.made]
    assert any(label.startswith("craft fgsm linf") for label in attacked)


@pytest.mark.parametrize("side", [2.5, 0, -1, "8/255", float("inf")])
def test_the_side_is_a_whole_number(side: object) -> None:
    with pytest.raises(ValueError, match=r"side in pixels, a whole number, not|epsilon is a number above 0"):
        from_mapping(GRID | {"threats": [{"norm": "patch", "epsilons": [side]}]})
