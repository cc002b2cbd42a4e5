"""Boards as Markdown: a table that any reader of GitHub's dialect parses, whatever the names hold."""

from __future__ import annotations

import re

import pytest

from leaderboard.markdown import escaped, markdown
from leaderboard.rows import boards


def lines(text):
    systems = text.partition("\n# Attacks\n")[0]
    return [line for line in systems.splitlines() if line.startswith("|")]


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_line_has_as_many_cells_as_the_head(made):
    text = markdown(boards(made.store()))
    for section in text.split("## ")[1:]:
        table = lines(section)
        assert len(table) >= 3
        assert len({len(cells(line)) for line in table}) == 1


def test_intervals_ties_flags_and_failures_are_words(made):
    flags = [made.flag("zero-gradient", fired=True)]
    text = markdown(boards([made.system("a"), made.system("a", flags=flags), made.failed("b")]))
    first, second, third = lines(text)[2:]
    assert cells(first)[:4] == ["=1", "a", "50.0 (46.9–53.1)", "90.0"]
    assert cells(second)[-1] == "zero-gradient"
    assert "- a: zero-gradient: gradient zero or not finite on 31 of 100 inputs" in text.splitlines()
    assert cells(third)[0] == cells(third)[2] == "–"
    assert cells(third)[-1] == "1 failed task"


def test_an_empty_store_says_what_to_do():
    assert "harness run quick" in markdown([])


def test_a_stranger_cannot_write_markdown(made):
    text = markdown(boards([made.system("a | b <img onerror=alert(1)> [x](http://y) *z* `c`\n# d $e$ _f_ g_h")]))
    (line,) = lines(text)[2:]
    assert len(cells(line)) == len(cells(lines(text)[0]))
    assert cells(line)[1] == r"a \| b \<img onerror=alert(1)\> \[x\](http://y) \*z\* \`c\` # d \$e\$ \_f\_ g_h"


@pytest.mark.parametrize(("text", "expected"), [("a_b", "a_b"), ("_a", r"\_a"), ("a\\|", r"a\\\|"), ("&lt;", r"\&lt;")])
def test_escaping(text, expected):
    assert escaped(text) == expected


def test_a_note_and_an_earlier_suite_are_said(made):
    note = {"dataset_note": "Fashion-MNIST could not be had"}
    text = markdown(boards([made.system(**note), made.system(suite="fashion-0")]))
    assert "Note: Fashion-MNIST could not be had" in text
    assert "an earlier suite" in text


def test_claims_have_a_column_where_there_are_any(made):
    claimed = made.system("a", robust=0.3, submission={"claimed": {"robust_accuracy": 0.55}})
    head, _, first, second = lines(markdown(boards([claimed, made.system("b", robust=0.2)])))
    assert cells(head)[3] == "claimed %"
    assert (cells(first)[3], cells(second)[3]) == ("55.0 (contradicted)", "–")
    assert "claimed" not in markdown(boards([made.system()]))


def test_results_that_ship_are_marked(made):
    text = markdown(boards([made.system("a", reference=True), made.system("b")]))
    assert [cells(line)[1] for line in lines(text)[2:]] == ["a°", "b"]
    assert "° a result that ships with the package" in text
