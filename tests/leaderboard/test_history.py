"""What changed in the records of a system, why, and since the board was built."""

from __future__ import annotations

import json

import pytest

from harness.history import note
from leaderboard.choose import Filters
from leaderboard.export import json_text
from leaderboard.history import as_json, chosen, history, report, since, since_built
from leaderboard.rows import boards


def later(record, **changes):
    """The record of a later run."""
    return {
        **record,
        "created": "2026-12-01T00:00:00Z",
        "environment": {"commit": "fedcba98", "dirty": True},
        **changes,
    }


def test_nothing_was_ever_recorded(tmp_path):
    assert history(tmp_path / "records") == []
    words = report([], None, whole=False)
    assert "No board was built yet" in words
    assert "no system was ever recorded with other figures" in words


def test_entries_say_what_changed_and_by_what(tmp_path, made):
    first = made.system("a", code="1", status="complete")
    attacks = [{**cell, "attack": "square"} if cell["attack"] == "fgsm" else cell for cell in first["cells"]]
    runs = [
        first,
        later(first, metrics=made.system("a", robust=0.4)["metrics"]),
        later(first, created="2026-12-02T00:00:00Z", code="2", flags=[made.flag("twins", fired=True)]),
        later(first, created="2026-12-03T00:00:00Z", code="2", id="f" * 16, cells=attacks),
        later(first, created="2026-12-04T00:00:00Z", code="2", id="e" * 16, cells=attacks),
        later(first, created="2026-12-05T00:00:00Z", code="2", id="d" * 16, cells=attacks, inputs=500),
    ]
    assert all(note(run, tmp_path) for run in runs)
    (past,) = history(tmp_path)
    assert [entry.cause for entry in past.entries] == [
        "",
        "another commit, computed again",
        "the code that makes a record of outcomes",
        "other attacks",
        "parts, attacks or their code (another id)",
        "another number of inputs",
    ]
    told = ["; ".join(entry.changes) for entry in past.entries]
    assert told[0] == ""
    assert told[1].startswith("robust 50.0 → 40.0 (")
    assert "flags + twins" in told[2]
    assert "attacks + square, − fgsm" in told[3]
    assert (told[4], told[5]) == ("", "inputs 1,000 → 500")
    whole = report([past], None, whole=True)
    assert "robust 50.0 (46.9–53.1) %, clean 90.0 (88.1–91.9) %; 5 attacks; flags none; 1,000 inputs" in whole
    assert "commit fedcba98 with changes" in whole
    assert json.dumps(as_json([past]))


def test_older_files_of_a_system_are_its_history_where_none_was_kept(tmp_path, made):
    old = made.system("a", created="2026-01-01T00:00:00Z", id="0" * 16)
    new = made.system("a", robust=0.4)
    (past,) = history(tmp_path, [new, old])
    assert [entry.id for entry in past.entries] == ["0" * 16, new["id"]]
    note(new, tmp_path)
    assert history(tmp_path, [new, old]) == [past]


def test_a_standing_record_is_not_told_twice(tmp_path, made):
    record = made.system("a", status="complete")
    note(record, tmp_path)
    (past,) = history(tmp_path, [later(record)])
    assert len(past.entries) == 1


def test_lines_that_are_no_records_are_passed_over(tmp_path, made):
    note(made.system("a"), tmp_path)
    (path,) = (tmp_path / "history").iterdir()
    path.write_text('[]\n{"defense": "a"}\n{"suite": 3, "headline": {}}\n' + path.read_text())
    assert [past.defense for past in history(tmp_path)] == ["a"]


def test_a_choice_of_systems(tmp_path, made):
    records = [made.system("a"), made.system("b"), made.system("a", victim="mlp")]
    pasts = history(tmp_path, records)
    assert len(chosen(pasts, Filters(), "a")) == 2
    assert len(chosen(pasts, Filters(victim="mlp"), None)) == 1
    assert len(chosen(pasts, Filters(), records[1]["id"][:8])) == 1
    with pytest.raises(ValueError, match="defense or id 'c'"):
        chosen(pasts, Filters(), "c")


def test_since_the_board_was_built(tmp_path, made):
    before = [made.system("a", robust=0.7), made.system("b", robust=0.4), made.system("gone"), made.system("same")]
    built = json.loads(json_text(boards(before)))
    after = [
        made.system("a", robust=0.2),
        made.system("b", robust=0.4),
        made.system("same"),
        made.system("new", robust=0.9),
    ]
    after[2] = made.system("same", flags=[made.flag("twins", fired=True)])
    lines = since(built, boards(after))
    assert lines[0].startswith("+ new (fashion_mnist · cnn · ℓ∞ 0.1, adaptive): new, rank 1, robust 90.0")
    assert any(line.startswith("  a (") and "rank 1 → 4" in line and "robust 70.0 → 20.0" in line for line in lines)
    assert any(line.startswith("  same (") and "flags + twins" in line for line in lines)
    assert lines[-1].startswith("− gone")
    assert since(built, boards(before)) == []
    assert since(built, boards(after), Filters(victim="mlp")) == []
    assert since(built, boards(after), Filters(victim="cnn")) == lines
    assert "nothing changed" in report([], [], whole=False)
    path = tmp_path / "leaderboard.json"
    assert since_built(path, boards(after)) is None
    path.write_text(json.dumps(built))
    assert since_built(path, boards(after)) == lines
    path.write_text("{")
    with pytest.raises(ValueError, match="`leaderboard build` writes it anew"):
        since_built(path, [])
    assert since({"not": "boards"}, []) == []
