"""Records are read, and whatever is none is skipped with its reason."""

from __future__ import annotations

import json

import pytest

from leaderboard._objections import objection
from leaderboard.collect import collect


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="harness run quick"):
        collect(tmp_path / "records")


def test_an_empty_folder_gives_nothing(tmp_path):
    found = collect(tmp_path)
    assert (found.records, found.skipped) == ([], [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ("[]", "an object was expected, found list"),
        ('{"schema": 2}', "schema 2 found, 1 expected"),
        ("[" * 100_000, ""),
    ],
)
def test_unreadable_files_are_skipped_with_their_reason(tmp_path, made, text, reason):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    (tmp_path / "b.json").write_text(json.dumps(made.system()))
    (tmp_path / "c.json.123.tmp").write_text("{")
    found = collect(tmp_path)
    assert [record["defense"] for record in found.records] == ["none"]
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"a.json skipped: {reason}")


@pytest.mark.parametrize(
    "change",
    [
        {"suite": None},
        {"defense": ""},
        {"victim": {"name": "cnn"}},
        {"size": ["official"]},
        {"headline": None},
        {"headline": {"norm": "linf", "knowledge": "adaptive"}},
        {"headline": {"norm": 2, "epsilon": 0.1, "knowledge": "adaptive"}},
        {"headline": {"norm": "linf", "epsilon": float("nan"), "knowledge": "adaptive"}},
        {"per_input": []},
        {"per_input": {"index": [1, 2], "robust": [1.0]}},
        {"per_input": {"index": [1], "robust": [None]}},
        {"per_input": {"index": [[1]], "robust": [1.0]}},
    ],
)
def test_records_that_could_not_be_ranked_are_refused(made, change):
    assert objection(made.system(**change))


def test_whole_and_failed_records_are_accepted(made):
    assert objection(made.system()) == ""
    assert objection(made.failed("none")) == ""
    assert objection(made.system(per_input={})) == ""
    assert objection(made.system(per_input=None)) == ""


def test_older_records_of_a_system_are_kept_apart(tmp_path, made):
    old, new = made.system("a", created="2026-01-01T00:00:00Z"), made.system("a")
    del old["created"]
    for name, record in (("old", old), ("new", new)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    found = collect(tmp_path)
    assert found.records == [new]
    assert found.every == [new, {"created": "", **old}]
    assert found.skipped == []
