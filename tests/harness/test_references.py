"""Reference results: written only from what everybody can repeat, ranked beside own ones, replaced by them."""

from __future__ import annotations

import json
import sys

import pytest

from harness import references
from harness.references import with_references, write


def record(defense, **changes):
    known = {
        "schema": 1,
        "id": f"{defense}-id",
        "suite": "official-2",
        "grid": "official",
        "size": "official",
        "dataset": "fashion_mnist",
        "victim": "cnn",
        "defense": defense,
        "seed": 0,
        "created": "2026-11-28T10:00:00Z",
        "complete": True,
        "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"},
        "metrics": {"robust_accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
        "environment": {"commit": "abc", "dirty": False, "platform": "somebody's machine", "torch": "2"},
        "pictures": {"clean": "x"},
        "training": [1],
    }
    return known | changes


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Two references in a folder of their own."""
    monkeypatch.setattr(references, "FOLDER", tmp_path)
    write([record("none"), record("blur")], tmp_path)
    references.references.cache_clear()
    yield references.references()
    references.references.cache_clear()


def test_references_are_read_as_they_were_written_but_for_machine_and_pictures(shipped):
    assert [each["defense"] for each in shipped] == ["blur", "none"]
    for each in shipped:
        assert each["reference"] is True
        assert each["environment"] == {"commit": "abc", "torch": "2"}
        assert "pictures" not in each
        assert "training" not in each


def test_the_same_records_make_the_same_file(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    (first,), (second,) = write([record("a"), record("b")], one), write([record("b"), record("a")], two)
    assert first.read_bytes() == second.read_bytes()


def test_an_own_record_takes_the_place_of_a_reference_even_an_older_one(shipped):
    own = record("none", id="mine", created="2020-01-01T00:00:00Z")
    found = with_references([own])
    assert sorted((each["defense"], each["id"]) for each in found) == [("blur", "blur-id"), ("none", "mine")]


def test_references_of_other_suites_come_only_when_asked_for(shipped):
    own = record("none", suite="digits-2")
    assert len(with_references([own])) == 3
    assert with_references([own], everywhere=False) == [own]
    assert with_references([], everywhere=False) == []
    assert len(with_references([])) == 2


def test_what_a_run_folder_has_no_record_of_stays(shipped, tmp_path, monkeypatch, capsys):
    own = tmp_path / "runs" / "records"
    own.mkdir(parents=True)
    for name in ("blur", "vim"):
        (own / f"{name}.json").write_text(json.dumps(record(name, id=f"new-{name}", grid="official")), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["references", str(tmp_path / "runs")])
    assert references.main() == 0
    assert "3 records" in capsys.readouterr().out
    references.references.cache_clear()
    assert [each["id"] for each in references.references()] == ["new-blur", "none-id", "new-vim"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"complete": False}, "is not complete"),
        ({"size": "dev"}, "is not of size official"),
        ({"submission": {"name": "x"}}, "is a submission"),
        ({"environment": {"commit": "abc", "dirty": True}}, "uncommitted code"),
        ({"environment": {}}, "uncommitted code"),
    ],
)
def test_what_nobody_can_repeat_is_refused_and_nothing_is_written(changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        write([record("good"), record("bad", **changes)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_ships_can_be_ranked_and_says_how_it_was_made():
    references.references.cache_clear()
    from leaderboard.collect import objection
    from leaderboard.rows import boards

    found = references.references()
    assert found
    for each in found:
        assert objection(each) == ""
        assert each["complete"]
        assert each["size"] == "official"
        assert len(each["environment"]["commit"]) == 40
        assert each["command"].startswith("harness run official")
        assert len(each["per_input"]["index"]) == each["inputs"] == 1000
    for board in boards(found):
        assert board.shipped
        assert board.rows[0].metric("robust_accuracy").value > 0.3
