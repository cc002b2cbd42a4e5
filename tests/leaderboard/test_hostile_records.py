"""A record that is wrong somewhere is skipped with its reason, or shown; the board of the others is built."""

from __future__ import annotations

import copy
import json
import math
import time
from base64 import b64decode

import pytest

from leaderboard import board, build, terminal
from leaderboard._objections import objection
from leaderboard._pack import unpacked
from leaderboard.cli import main
from leaderboard.collect import collect
from leaderboard.history import history, report
from leaderboard.html import site
from leaderboard.rows import boards, rows

HUGE = 10**400
VALUES = [
    None,
    "",
    True,
    -1,
    HUGE,
    1e308,
    math.nan,
    [],
    {},
    [None],
    [1, "a"],
    {"value": 1e308},
    {"a": {}},
    "a\nb\u202e\ud800",
]
LISTS = ("flags", "cells", "threats", "failed", "shifts", "gallery", "parts", "roles")


def paths(value, before=()):
    """The places in a record, first elements of lists only."""
    if before:
        yield before
    keys = value if isinstance(value, dict) else range(min(1, len(value))) if isinstance(value, list) else ()
    for key in keys:
        yield from paths(value[key], (*before, key))


def replaced(record, path, value):
    changed = copy.deepcopy(record)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    "part", ["metrics", "flags", "cells", "threats", "per_input", "id", "roles", "headline", "submission"]
)
def test_any_wrong_value_spoils_no_board(made, tmp_path, part):
    record = made.system(
        "a + linear_map_svm", inputs=6, roles=["detector"], gallery=[], submission={"claimed": {"clean_accuracy": 0.9}}
    )
    record["flags"][0]["fired"], record["flags"][0]["evidence"] = True, {"b": 31}
    other = made.system("none", inputs=6)
    for path in paths({part: record[part]}):
        for value in VALUES:
            changed = replaced(record, path, value)
            if objection(changed):
                continue
            found = boards([changed, other])
            site(found)
            terminal.shown(found, width=200, claims=True)
            report(history(tmp_path, [changed, other]), [], whole=True)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", ["text", {"a": 1}, [1], [[]]])
def test_lists_of_other_things_are_refused_with_their_name(made, name, value):
    assert f"`{name}`" in objection(made.system(**{name: value}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": math.nan}, "`id` must be a text"),
        ({"id": "a\nb"}, "`id` must be a text"),
        ({"defense": "x" * 1_000_000}, "at most 2,000 characters, found 1,000,000"),
        ({"metrics": {"robust_accuracy": {"value": 1e308, "low": 0, "high": 1}}}, "`robust_accuracy` must be a share"),
        ({"metrics": {"clean_accuracy": -1}}, "`clean_accuracy` must be a share"),
        ({"headline": {"norm": " ", "epsilon": 0.1, "knowledge": "adaptive"}}, "must name norm"),
        ({"per_input": {"index": [1, 1], "robust": [1.0, 1.0]}}, "name each input once"),
        ({"per_input": {"index": [HUGE], "robust": [1.0]}}, "whole numbers"),
        ({"per_input": {"index": [1], "robust": [7]}}, "from 0 to 1"),
        ({"per_input": {"index": [1], "robust": [1], "clean": ["a"]}}, "`per_input.clean`"),
    ],
)  # fmt: skip
def test_the_reason_says_what_was_expected(made, change, words):
    assert words in objection(made.system(**change))


def test_shares_that_are_not_known_are_no_fault(made):
    unknown = {"value": math.nan, "low": math.nan, "high": math.nan}
    for value in (None, {"value": None}, unknown):
        assert objection(made.system(metrics={"robust_accuracy": value})) == ""


def test_ids_that_two_rows_share_or_that_no_address_can_hold_are_replaced(made):
    ids = ["", "a,b", "../x", "__proto__", "same", "same", "ab12" * 4]
    texts = site(boards([made.system(f"d{i}", id=name) for i, name in enumerate(ids)]), room=0)
    facts = json.loads(made.waiting(texts["leaderboard.html"])["facts"])
    known = {fact["name"]: fact["id"] for fact in facts}
    assert len(set(known.values())) == len(ids)
    assert all(name.isalnum() for name in known.values())
    assert known["d6"] == "ab12" * 4
    assert {f"systems/{name}.js" for name in known.values()} == set(texts) - {"leaderboard.html"}


def test_ids_of_the_page_do_not_depend_on_the_other_records(made):
    odd = made.system("odd", id="a,b")
    alone, among = (
        json.loads(made.waiting(site(boards(records))["leaderboard.html"])["facts"])
        for records in ([odd], [made.system("b", robust=0.9), odd])
    )
    assert alone[0]["id"] in {fact["id"] for fact in among}


@pytest.mark.parametrize(
    "change",
    [
        {"clean": "../secret"},
        {"clean": "n" * 5_000},
        {"clean": "text"},
        {"change": "missing"},
        {"clean": None},
        {"clean": "folder"},
        {"width": 10**9},
        {"height": 0},
        {"columns": True},
        {"width": 2.5},
        {"width": HUGE},
    ],
)
def test_pictures_that_are_none_are_left_out(made, tmp_path, change):
    folder = tmp_path / "records" / "pictures"
    (folder / "folder.png").mkdir(parents=True)
    png = made.png([[0.0, 1.0]])
    for name, content in (("good", b64decode(png)), ("text", b"no picture"), ("../secret", b64decode(png))):
        (folder / f"{name}.png").write_bytes(content)
    told = {"width": 2, "height": 1, "columns": 1, "clean": "good", "change": "good"}
    build([made.system(id="ab" * 8, pictures=told)], tmp_path / "board")
    assert (tmp_path / "board" / "systems" / "good.js").is_file()
    (page, *_) = build([made.system(id="ab" * 8, pictures=told | change)], tmp_path / "board")
    assert '"pictures"' not in made.waiting(page.read_text())["facts"]
    assert not (tmp_path / "board" / "systems").exists()


def test_a_history_that_is_none_is_passed_over(made, tmp_path):
    folder = tmp_path / "records" / "history"
    (folder / "a.jsonl").mkdir(parents=True)
    (folder / "b.jsonl").write_text("9" * 5_000 + "\n")
    lines = [[], {"defense": 1}, {**made.system(), "flags": {"a": 1}, "robust": [], "created": {}, "code": 7}]
    (folder / "c.jsonl").write_bytes(b"\xff\n{\n" + "\n".join(map(json.dumps, lines)).encode())
    assert [past.defense for past in history(folder.parent)] == ["none"]
    assert build([made.system()], tmp_path / "board")


def test_a_number_too_long_to_read_is_one_file_less(made, tmp_path):
    (tmp_path / "a.json").write_text('{"schema": ' + "9" * 5_000 + "}")
    (tmp_path / "b.json").write_text(json.dumps(made.system()))
    found = collect(tmp_path)
    assert len(found.records) == 1
    assert found.skipped[0].startswith("a.json skipped: ")


def test_rows_without_figures_are_told_apart_in_one_pass(made, monkeypatch):
    monkeypatch.setattr("harness.rank.ranked", lambda records: [])
    scored, failed = made.system(), made.failed("none")
    records = [dict(scored) for _ in range(10_000)] + [
        failed | {"defense": f"d{i:05}"} for i in reversed(range(10_000))
    ]
    start = time.perf_counter()
    assert [row.name for row in rows(records)] == [f"d{i:05}" for i in range(10_000)]
    assert time.perf_counter() - start < 3


def test_what_ships_shows_where_there_is_no_run_folder(made, tmp_path, monkeypatch, capsys):
    shipped = tuple(made.system(name, reference=True, id=name * 8) for name in ("ab", "cd"))
    monkeypatch.setattr("harness.references.references", lambda: shipped)
    missing = tmp_path / "missing"
    for command in (["show"], ["compare", "ab", "cd"]):
        assert main([*command, "--home", str(missing)]) == 0
        out, err = capsys.readouterr()
        assert "ab" in out
        assert f"{missing / 'records'} holds no records: only results that ship with the package follow" in err
    assert not missing.exists()
    assert main(["build", "--home", str(missing)]) == 2
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "records").mkdir()
    assert main(["show", "--home", str(tmp_path)]) == 0
    assert "holds no records" in capsys.readouterr().err


def test_markup_in_a_report_stays_text(made, tmp_path):
    folder = tmp_path / "board" / "papers"
    (folder / "folder.md").mkdir(parents=True)
    evil = [
        "# </script><script>alert(1)</script>",
        "<img src=x onerror=alert(2)> [a](javascript:alert(3)) <javascript:alert(4)> ![b](http://a.b/c.png)",
        "![c](../../x.png) ![d](javascript:alert(5)) [![e](//a.b/c.png)](http://a.b)",
        "[f]: http://a.b/c.png",
        "![f] [f]",
    ]
    (folder / "__proto__.md").write_text("\n\n".join(evil))
    page = board.build([made.system()], tmp_path / "board")[0].read_text()
    report_ = unpacked(made.waiting(page)["reports"]["__proto__"])
    assert page.count("<script") == 2
    for part in ("<img", "<a", "<script", "href", 'src="'):
        assert part not in report_
