"""Boards for a terminal."""

from __future__ import annotations

import pytest

from leaderboard import table
from leaderboard.rows import boards
from leaderboard.terminal import shown


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_important_is_lost(made, width):
    text = shown(boards(made.store()), width=width, colour=False)
    assert max(map(len, text.splitlines())) <= width
    assert "61.8" in text
    assert "⚑" in text
    assert "✗ 1 failed" in text


def test_flags_are_whole_at_eighty_columns(made):
    record = made.system(flags=[made.flag("zero-gradient", fired=True)])
    assert "zero-gradient" in shown(boards([record]), width=80, colour=False)


def test_fired_flags_say_what_they_found(made):
    fired = made.flag("zero-gradient", fired=True)
    record = made.system(flags=[fired, made.flag("random", fired=True, severity="info"), made.flag("twins")])
    found = [line for line in shown(boards([record]), width=200, colour=False).splitlines() if ": " in line]
    words = "gradient zero or not finite on 31 of 100 inputs"
    assert found[-2:] == [f"⚑ none: zero-gradient: {words}", f"○ none: random: {words}"]
    assert "twins" not in "".join(found)


def test_colour_only_where_asked(made):
    found = boards([made.system()])
    assert "\x1b[" in shown(found, width=100, colour=True)
    assert "\x1b[" not in shown(found, width=100, colour=False)
    assert "\x1b[" not in table([made.system()])


def test_a_name_is_no_markup(made):
    text = shown(boards([made.system("[red]a[/] :smile: \x1b[31m")]), width=120, colour=False)
    assert "[red]a[/] :smile:" in text
    assert "\x1b" not in text


def test_an_empty_store():
    assert "harness run quick" in table([])


def test_of_many_systems_the_first_are_printed(made):
    found = boards([made.system(f"d{i:03}", robust=i / 100, inputs=10) for i in range(60)])
    text = shown(found, width=120, colour=False)
    assert "and 10 more: --top 60 prints them, --csv and --json hold all" in text
    assert sum(" d0" in line for line in text.splitlines()) == 50
    assert "more:" not in shown(found, width=120, colour=False, rows=60)


@pytest.mark.parametrize("width", [60, 100, 200])
def test_claims_beside_what_was_measured(made, width):
    claimed = made.system("a", robust=0.3, submission={"claimed": {"robust_accuracy": 0.55}})
    met = made.system("b", robust=0.3, submission={"claimed": {"robust_accuracy": 0.31}})
    text = shown(boards([claimed, met, made.system("c")]), width=width, colour=False, claims=True)
    assert max(map(len, text.splitlines())) <= width
    assert "55.0 ≠" in text
    assert "31.0 ≠" not in text
    assert "claimed" not in shown(boards([claimed]), width=width, colour=False)


def test_results_that_ship_are_marked(made):
    text = shown(boards([made.system("a", reference=True), made.system("b")]), width=120, colour=False)
    assert "a° " in text
    assert "b° " not in text
    assert "° a result that ships with the package" in text
