"""A record's history: a line each time that what it says changes, none for an equal result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.history import FOLDER, file_of, line, note, read, same


def record(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "suite": "s", "size": "dev", "dataset": "d", "victim": "v", "defense": "x", "seed": 0, "id": "a" * 16,
        "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}, "created": "2026-01-01T00:00:00Z",
        "code": "c", "inputs": 2, "status": "complete", "environment": {"commit": "abc", "dirty": False},
        "metrics": {"robust_accuracy": {"value": 0.5, "low": 0.1, "high": 0.9}}, "cells": [{"attack": "pgd"}],
        "flags": [{"name": "f", "fired": True, "severity": "warning"}, {"name": "g", "fired": True, "severity": "info"}],
        "per_input": {"index": [0, 1], "clean": [1.0, 1.0], "robust": [1.0, 0.0]},
    }  # fmt: skip
    return made | changes


def lines(folder: Path) -> list[dict[str, Any]]:
    return read(folder / FOLDER / file_of(record()))


def test_an_equal_result_adds_nothing(tmp_path: Path) -> None:
    assert note(record(), tmp_path)
    later = record(created="2026-02-02T00:00:00Z", code="d", environment={"commit": "def", "dirty": True})
    assert not note(later, tmp_path)
    assert [entry["created"] for entry in lines(tmp_path)] == ["2026-01-01T00:00:00Z"]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "b" * 16},
        {"inputs": 3},
        {"status": "failed"},
        {"metrics": {"robust_accuracy": {"value": 0.6, "low": 0.1, "high": 0.9}}},
        {"metrics": {}},
        {"flags": []},
        {"cells": [{"attack": "pgd"}, {"attack": "fgsm"}]},
        {"per_input": {"index": [0, 1], "clean": [1.0, 1.0], "robust": [0.0, 1.0]}},
    ],
)
def test_what_changed_adds_a_line_and_so_does_going_back(tmp_path: Path, change: dict[str, Any]) -> None:
    assert [note(each, tmp_path) for each in (record(), record(**change), record(**change), record())] == [
        True,
        True,
        False,
        True,
    ]
    assert len(lines(tmp_path)) == 3


def test_other_systems_have_files_of_their_own(tmp_path: Path) -> None:
    for each in (record(), record(defense="y"), record(seed=1)):
        assert note(each, tmp_path)
    assert len(list((tmp_path / FOLDER).glob("*.jsonl"))) == 3


def test_a_line_holds_what_it_should() -> None:
    found = line(record())
    assert (found["commit"], found["flags"], found["attacks"], found["clean"]) == ("abc", ["f"], ["pgd"], None)
    assert line({})["attacks"] == []
    assert same(found, json.loads(json.dumps(found)))
    odd = line(record(metrics={"robust_accuracy": {"value": float("nan")}}))
    assert same(odd, json.loads(json.dumps(odd)))


def test_a_torn_line_is_passed_over_and_not_added_to(tmp_path: Path) -> None:
    note(record(), tmp_path)
    path = tmp_path / FOLDER / file_of(record())
    with path.open("a") as file:
        file.write('{"id": "b')
    assert note(record(inputs=5), tmp_path)
    assert [entry["inputs"] for entry in lines(tmp_path)] == [2, 5]
    assert read(tmp_path / "missing.jsonl") == []


def test_saving_a_record_notes_it(tmp_path: Path) -> None:
    from harness.records import save

    for each in (record(), record(created="2026-02-02T00:00:00Z"), record(inputs=7)):
        save(each, pd.DataFrame({"index": [0, 1]}), tmp_path)
    assert [entry["inputs"] for entry in lines(tmp_path)] == [2, 7]
    assert [path.name for path in tmp_path.glob("*.json")] == [f"{'a' * 16}.json"]
