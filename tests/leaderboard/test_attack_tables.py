"""Attacks beside the systems: sums over systems, what was missed, escaped names, every rendering."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from harness.types import Interval
from leaderboard import build
from leaderboard.attacks import Selftest, at_headline, lines, selftests
from leaderboard.cli import main
from leaderboard.html import page
from leaderboard.markdown import markdown
from leaderboard.rows import boards
from leaderboard.terminal import shown_attacks

EVIL = "<img src=x onerror=alert(1)>"
TEST = {
    "attack": "pgd",
    "dataset": "digits",
    "victim": "cnn",
    "binarisation": {"value": 0.96, "low": 0.9, "high": 0.98},
    "inverted": {"value": 0.875, "low": 0.8, "high": 0.9},
    "broken": [
        {"defense": "none", "passed": True},
        {"defense": "a", "passed": True},
        {"defense": "b", "passed": False},
    ],
    "passed": False,
}


def cell(attack, broken, *, right=100, missed=0, wins=0, **changes):
    """A cell at the headline's threat."""
    axes = {"attack": attack, "norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}
    cost = {"forwards": 40.0, "backwards": 39.0, "seconds": 2.0, "median_distance": 0.05}
    counts = {"broken": broken, "right": right, "missed": missed, "wins": wins}
    return axes | cost | counts | {"robust_accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}} | changes


@pytest.fixture
def two(made):
    """Two systems under three attacks."""
    first = [cell("pgd", 60, missed=5, wins=2), cell("fgsm", 20, missed=45), cell("pgd", 80, epsilon=0.2)]
    second = [cell("pgd", 10, right=50, missed=10, seconds=4.0), cell("cw", 9, norm="l2", epsilon=1.0)]
    return boards([made.system("none", cells=first), made.system("blur", robust=0.7, cells=second)])


def test_counts_are_summed_over_the_systems_that_an_attack_was_tried_on(two):
    (board,) = two
    pgd, fgsm, wide, cw = lines(board, {})
    assert [(line.attack, line.threat.epsilon) for line in (pgd, fgsm, wide, cw)] == [
        ("pgd", 0.1),
        ("fgsm", 0.1),
        ("pgd", 0.2),
        ("cw", 1.0),
    ]
    assert pgd.success == pytest.approx(70 / 150)
    assert pgd.missed == pytest.approx(15 / 150)
    assert pgd.worst == pytest.approx(10 / 50)
    assert (pgd.total("wins"), pgd.middle("seconds"), len(pgd.cells)) == (2, 3.0, 2)
    assert [at_headline(board, line) for line in (pgd, fgsm, wide, cw)] == [True, True, False, False]


def test_records_that_do_not_compare_attacks_say_nothing_of_shares(made):
    old = cell("pgd", 30)
    for name in ("right", "missed", "wins"):
        del old[name]
    (line,) = lines(boards([made.system("none", cells=[old])])[0], {})
    assert (line.success, line.missed, line.worst, line.total("broken")) == (None, None, None, 30)
    both = boards([made.system("none", cells=[old]), made.system("blur", robust=0.7, cells=[cell("pgd", 10)])])
    (line,) = lines(both[0], {})
    assert (line.success, line.total("broken")) == (0.1, 10)


def test_an_attack_that_was_given_nothing_has_no_success(made):
    (line,) = lines(boards([made.system("none", cells=[cell("pgd", 0, right=0)])])[0], {})
    assert line.success is None


def test_selftests_are_read_and_what_is_no_test_is_left_out(tmp_path):
    (tmp_path / "pgd.json").write_text(json.dumps(TEST))
    (tmp_path / "half.json").write_text('{"attack": "x"')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "odd.json").write_text(json.dumps({"attack": "odd", "binarisation": "high", "broken": 3}))
    found = selftests(tmp_path)
    assert set(found) == {"pgd", "odd"}
    pgd = found["pgd"]
    assert (pgd.share, pgd.fell, pgd.known_broken, pgd.where) == (Interval(0.96, 0.9, 0.98), 1, 2, "digits, cnn")
    assert (found["odd"].share, found["odd"].fell) == (None, None)
    assert selftests(tmp_path / "nowhere") == {}


def test_every_rendering_shows_the_same_figures(two, tmp_path):
    tests = {"pgd": Selftest.of(TEST)}
    whole, text, shown = page(two, tests), markdown(two, tests), shown_attacks(two, tests, width=160)
    body = re.search(r'<section class="attacks".*?</section>', whole, re.S)[0]
    words = re.sub(r"<[^>]+>", " ", body)
    for figure in ("46.7", "70 of 150", "at most 20.0", "96.0", "inverted 87.5", "1 of 2", "digits, cnn"):
        assert figure in words, figure
    line = next(line for line in text.splitlines() if line.startswith("| pgd"))
    assert [c.strip() for c in line.split("|")[3:7]] == ["46.7", "70", "10.0", "2"]
    assert "96.0 (87.5)" in line
    assert "96.0 (87.5)" in shown
    assert "cw" not in shown  # not in the headline's ball
    assert "Attacks in other balls (2)" in body


def test_a_board_without_cells_has_no_attacks(made):
    found = boards([made.system("none", cells=[])])
    assert "data-attacks=" not in page(found).partition("<script")[0]
    assert "# Attacks" not in markdown(found)


def test_names_of_strangers_are_escaped(made):
    found = boards([made.system("none", gallery=[], cells=[cell(EVIL, 3, knowledge=EVIL)])])
    tests = {EVIL: Selftest.of(TEST | {"attack": EVIL, "dataset": EVIL, "victim": EVIL})}
    assert "<img" not in page(found, tests)
    assert EVIL not in markdown(found, tests)


def test_cells_that_are_no_numbers_are_no_error(made):
    bad = cell("pgd", "many", right=None, missed=[], wins={}, forwards="x", seconds=float("inf"), median_distance=None)
    found = boards([made.system("none", cells=[bad, {"attack": "nowhere"}, "text"])])
    assert "–" in page(found)
    assert lines(found[0], {})[0].success is None


def test_command_line(made, tmp_path, capsys):
    (tmp_path / "records").mkdir()
    (tmp_path / "selftests").mkdir()
    (tmp_path / "selftests" / "pgd.json").write_text(json.dumps(TEST))
    record = made.system("none", cells=[cell("pgd", 60, missed=5, wins=2), cell("fgsm", 20, missed=45)])
    (tmp_path / "records" / "a.json").write_text(json.dumps(record))

    def shown(*form):
        assert main(["show", "--attacks", *form, "--home", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert "pgd" in shown()
    assert shown("--markdown").startswith("# Attacks\n\n## fashion_mnist")
    found = list(csv.DictReader(io.StringIO(shown("--csv"))))
    assert [(line["attack"], line["success"], line["wins"]) for line in found] == [
        ("pgd", "0.6", "2.0"),
        ("fgsm", "0.2", "0.0"),
    ]
    (pgd, fgsm) = json.loads(shown("--json"))
    assert (pgd["binarisation"], pgd["inverted"], fgsm["binarisation"]) == (0.96, 0.875, None)
    assert main(["build", "--home", str(tmp_path), "--out", str(tmp_path / "elsewhere")]) == 0
    assert "inverted 87.5" in (tmp_path / "elsewhere" / "leaderboard.html").read_text()
    built = build([record], tmp_path / "board")[0].read_text()
    assert "inverted 87.5" in built  # the tests beside the board's folder
