"""Grids: what they stand for, and one clear message for each thing that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import grid as grids
from harness import reading
from harness.grid import Cell
from harness.reading import from_mapping
from harness.types import Skip, Threat

BASE: dict[str, Any] = {
    "name": "g",
    "datasets": ["digits"],
    "victims": ["mlp"],
    "defenses": ["none"],
    "attacks": ["pgd"],
    "threats": [{"norm": "linf", "epsilons": [0.1, 0.2], "knowledge": ["oblivious", "adaptive"]}],
}
LINF = {"norm": "linf", "epsilons": [0.1]}


def cells(**changes: Any) -> list[Cell | Skip]:
    return list(grids.cells(from_mapping({**BASE, **changes})))


@pytest.mark.parametrize("name", ["quick", "fashion", "official", "official_cifar"])
@pytest.mark.parametrize("size", [None, "smoke", "dev", "official"])
def test_shipped_grids_can_be_read(name: str, size: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_available", lambda lines: True)  # nothing is downloaded
    if name == "fashion" and size not in (None, "official"):
        size = None
    grid = reading.read(name, size=size)
    assert [cell for cell in grids.cells(grid) if isinstance(cell, Cell)]
    assert grid.headline.norm == "linf"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attacks": ["pdg"]}, "unknown attack 'pdg': did you mean pgd"),
        ({"attacks": ["foolbox/NoSuch"]}, "foolbox has no attack 'NoSuch'"),
        ({"defenses": ["bitdepth"]}, "unknown defense 'bitdepth': did you mean bit_depth"),
        ({"datasets": ["digit"]}, "unknown dataset 'digit': did you mean digits"),
        ({"shifts": ["uniform"]}, "unknown .*'uniform'"),
        ({"attacks": [{"pgd": {"stepz": 3}}]}, "unknown parameter 'stepz': did you mean steps"),
        ({"attacks": [{"pgd": {"steps": []}}]}, "'steps' takes int, not an empty list"),
        ({"attacks": [{"pgd": {"steps": "x"}}]}, "'steps' takes int, not 'x'"),
        ({"atacks": ["pgd"]}, "unknown key 'atacks': did you mean attacks"),
        ({"attacks": "pgd"}, "attacks is a list, not 'pgd'"),
        ({"attacks": []}, "the grid is empty: attacks holds nothing"),
        ({"datasets": []}, "the grid is empty: datasets holds nothing"),
        ({"defenses": []}, "the grid is empty: defenses holds nothing"),
        ({"defenses": [[]]}, "a pipeline of defenses is empty"),
        ({"threats": []}, "threats is a list such as"),
        ({"threats": None}, "threats is a list such as"),
        ({"threats": [{"norm": "linf"}]}, "a threat has norm and epsilons"),
        (
            {"threats": [{**LINF, "norm": "l_inf"}]},
            "norm is one of linf, l2, l1, l0, patch, not 'l_inf'; did you mean linf",
        ),
        ({"threats": [{**LINF, "epsilons": []}]}, "a threat without epsilons"),
        ({"threats": [{**LINF, "epsilons": [8]}]}, "epsilon 8 exceeds the box"),
        ({"threats": [{**LINF, "epsilons": [0]}]}, "epsilon is a number above 0"),
        ({"threats": [{**LINF, "epsilons": [-0.1]}]}, "epsilon is a number above 0"),
        ({"threats": [{**LINF, "epsilons": ["big"]}]}, "epsilon is a number above 0"),
        ({"threats": [{**LINF, "epsilons": [".nan"]}]}, "epsilon is a number above 0"),
        ({"threats": [{**LINF, "epsilons": ["nan"]}]}, "epsilon is a number above 0"),
        ({"threats": [{**LINF, "knowledge": ["white"]}]}, "knowledge is one of oblivious, adaptive, not 'white'"),
        ({"threats": [{**LINF, "knowlege": ["adaptive"]}]}, "unknown key of a threat 'knowlege': did you mean"),
        ({"headline": {"norm": "linf", "epsilon": 0.3, "knowledge": "adaptive"}}, "is not among the threats"),
        ({"headline": {"norm": "linf", "epsilon": 0.1}}, "the headline has norm, epsilon and knowledge"),
        ({"headline": "linf"}, "the headline has norm, epsilon and knowledge"),
        ({"inputs": 0}, "inputs takes a whole number above 0, not 0"),
        ({"inputs": "many"}, "inputs takes a whole number above 0"),
        ({"shard": 1.5}, "shard takes a whole number above 0"),
        ({"inputs": None}, "inputs takes a whole number above 0"),
        ({"rate": 2}, "rate"),
        ({"rate": "low"}, "rate"),
        ({"rate": 0}, "rate"),
        ({"seed": "a"}, "seed"),
        ({"inputs": 100, "clean_inputs": 50}, "clean_inputs"),
        ({"sizes": ["smoke"]}, "sizes"),
        ({"sizes": {"smoke": None}}, "sizes"),
        ({"sizes": {"smoke": {"inputz": 3}}}, "unknown key 'inputz'"),
        ({"fallback": "digits"}, "fallback"),
        ({"fallback": {"datasetz": ["digits"]}}, "unknown key 'datasetz'"),
        ({"datasets": "digits", "fallback": {"datasets": ["digits"]}}, "datasets is a list"),
    ],
)
def test_bad_input(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        list(grids.cells(from_mapping({**BASE, **changes}, size="smoke" if "sizes" in changes else None)))


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("name: g\ndatasets: [digits\nvictims: [mlp]\n")
    with pytest.raises(ValueError, match=r"grid\.yaml, line \d: "):
        reading.read(str(path))
    path.write_text("a: b: c\n")
    with pytest.raises(ValueError, match=r"grid\.yaml, line 1: "):
        reading.read(str(path))
    path.write_text("")
    with pytest.raises(ValueError, match="a grid is a mapping"):
        reading.read(str(path))
    path.write_bytes(b"name: \x00\n")
    with pytest.raises(ValueError, match=r"grid\.yaml"):
        reading.read(str(path))
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ValueError, match=r"grid\.yaml"):
        reading.read(str(path))
    with pytest.raises(FileNotFoundError, match=r"no grid file .*none\.yaml \(looked from"):
        reading.read(str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match="unknown grid 'quik': did you mean quick"):
        reading.read("quik")
    with pytest.raises(ValueError, match="unknown size 'tiny'"):
        from_mapping(BASE, size="tiny")


def test_roles_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "part.py"
    path.write_text("class Part:\n    def load(self, state, *, victim): ...\n")
    with pytest.raises(ValueError, match="its class needs `role"):
        from_mapping({**BASE, "defenses": [f"{path}:Part"]})


def test_every_combination_stands_once() -> None:
    found = cells(
        victims=["mlp", "cnn"], defenses=["none", "bit_depth"], attacks=["fgsm", "pgd"], shifts=["uniform_noise"]
    )
    assert not [cell for cell in found if isinstance(cell, Skip)]
    assert len(found) == len(set(found)) == 2 * 2 * (1 + 1 + 2 * 2)


def test_lists_expand_into_systems() -> None:
    read = from_mapping(
        {**BASE, "defenses": [{"bit_depth": {"bits": [1, 2, 3]}}, ["gaussian_blur", {"bit_depth": {"bits": [1, 2]}}]]}
    )
    assert len(read.defenses) == 5
    assert [s.defense for s in grids.systems(read)][-1].startswith("gaussian_blur + bit_depth")


def test_a_line_written_twice_counts_once() -> None:
    once, twice = (
        cells(),
        cells(defenses=["none", "none"], attacks=["pgd", "pgd"], victims=["mlp", "mlp"], datasets=["digits"] * 2),
    )
    assert once == twice


def test_none_is_the_empty_pipeline() -> None:
    assert from_mapping({**BASE, "defenses": ["none"]}).defenses == ((),)
    assert from_mapping({k: v for k, v in BASE.items() if k != "defenses"}).defenses == ((),)
    assert from_mapping({**BASE, "defenses": [["none", "bit_depth"]]}).defenses[0][0].name == "bit_depth"


def test_a_training_defense_comes_first_once() -> None:
    for wrong in (["bit_depth", "adversarial_training"], ["adversarial_training", "adversarial_training"]):
        found = cells(defenses=["none", wrong])
        skips = [cell for cell in found if isinstance(cell, Skip)]
        assert len(skips) == 1
        assert "must come first" in skips[0].reason
    assert not [cell for cell in cells(defenses=[["adversarial_training", "bit_depth"]]) if isinstance(cell, Skip)]


def test_an_attack_outside_its_norms_is_skipped_with_its_reason() -> None:
    threats = [{"norm": "linf", "epsilons": [0.1]}, {"norm": "l2", "epsilons": [1.0]}]
    reasons = {
        cell.reason for cell in cells(attacks=["pgd", "carlini_wagner"], threats=threats) if isinstance(cell, Skip)
    }
    assert reasons == {f"carlini_wagner at linf, {k}: it works in l2 only" for k in ("oblivious", "adaptive")}


def test_an_attack_is_bound_by_the_norms_of_the_attack_it_is_given() -> None:
    found = cells(attacks=["transfer"], threats=[{"norm": "l0", "epsilons": [5]}])
    assert [cell.reason for cell in found if isinstance(cell, Skip)]
    assert not [cell for cell in found if isinstance(cell, Cell) and cell.attempt]


def test_headline() -> None:
    assert from_mapping(BASE).headline == Threat("linf", 0.2, "adaptive")
    line = {"norm": "linf", "epsilon": "1/10", "knowledge": "oblivious"}
    assert from_mapping({**BASE, "headline": line}).headline == Threat("linf", 0.1, "oblivious")
    only = [{"norm": "l2", "epsilons": 0.5, "knowledge": "oblivious"}]
    assert from_mapping({**BASE, "threats": only}).headline == Threat("l2", 0.5, "oblivious")


def test_sizes_changes_and_fallback_replace() -> None:
    document = {**BASE, "inputs": 100, "sizes": {"smoke": {"inputs": 10, "shard": 5}}}
    assert from_mapping(document).inputs == 100
    small = from_mapping(document, size="smoke", changes={"shard": 7})
    assert (small.inputs, small.shard, small.size) == (10, 7, "smoke")
    kept = from_mapping({**BASE, "fallback": {"datasets": ["mnist"], "note": "fell back"}})
    assert (kept.datasets[0].name, kept.note) == ("digits", "")


def test_the_fallback_is_taken_where_data_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.datasets.fashion_mnist import FashionMNIST

    def missing(self: object) -> tuple[Path, ...]:
        raise FileNotFoundError("nowhere")

    monkeypatch.setattr(FashionMNIST, "files", missing)
    document = {**BASE, "datasets": ["fashion_mnist"], "fallback": {"datasets": ["digits"], "note": "fell back"}}
    assert from_mapping(document).datasets[0].name == "digits"
    assert from_mapping(document).note == "fell back"


def test_epsilons_ascend_once_each() -> None:
    read = from_mapping({**BASE, "threats": [{"norm": "linf", "epsilons": ["8/255", 0.2, 0.1, 0.2]}]})
    assert read.threats[0].epsilons == (8 / 255, 0.1, 0.2)
