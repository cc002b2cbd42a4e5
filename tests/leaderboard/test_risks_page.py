"""Risks taken apart, on the page, in Markdown and in exports."""

from __future__ import annotations

import json
import math

import pytest

from leaderboard.export import json_text
from leaderboard.html import page
from leaderboard.markdown import markdown
from leaderboard.risks import lines
from leaderboard.rows import boards


def risk(made, epsilon, **changes):
    share = made.interval
    return {
        "norm": "linf",
        "epsilon": epsilon,
        "knowledge": "adaptive",
        "inputs": 1000,
        "risks": {"adversarial": share(0.4), "standard": share(0.1), "normal": share(0.25), "bound": share(1.2)},
        "causes": {
            "standard": share(0.1),
            "normal": share(0.15),
            "in_manifold": share(0.05),
            "unexplained": share(0.1),
        },
        "per_input": {"by normal": [3, 14, 15], "by unexplained": list(range(100))},
    } | changes


@pytest.fixture
def board(made):
    systems = [
        made.system("none", risks=[risk(made, 0.05), risk(made, 0.1)]),
        made.system("bit_depth", risks=[risk(made, 0.1)]),
        made.system("hamming"),
    ]
    return boards(systems)


def test_lines_go_from_the_largest_budget_on_in_the_order_of_the_board(board):
    found = [(line.row.name, line.threat.epsilon) for line in lines(board[0])]
    ranked = [row.name for row in board[0].rows if row.name != "hamming"]
    assert found == [*((name, 0.1) for name in ranked), ("none", 0.05)]


def test_the_page_shows_risks_causes_and_the_inputs_behind_them(board, made):
    text = made.page(board)
    assert text.count("Where the adversarial risk comes from: fashion_mnist") == 1
    assert "lost along its normal 15.0 %" in text  # of the bar, for readers of the screen
    assert "3, 14, 15" in text
    assert "… (100)" in text
    assert "120.0" in text  # a bound may exceed one


def test_markdown_has_the_same_figures(board):
    text = markdown(board)
    assert "# Where the adversarial risk comes from" in text
    assert "| none | ℓ∞ 0.1, adaptive | 1,000 | 40.0 (" in text
    assert "by in-manifold %" in text


def test_exports_leave_the_inputs_out(board):
    systems = json.loads(json_text(board))[0]["systems"]
    (with_risks,) = [system for system in systems if system["defense"] == "bit_depth"]
    assert with_risks["risks"][0]["risks"]["normal"]["value"] == 0.25
    assert "per_input" not in with_risks["risks"][0]
    assert "per_input" not in with_risks


def test_without_risks_there_is_no_section(made):
    found = boards([made.system("none")])
    assert "Where the adversarial risk" not in page(found) + markdown(found)


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        [3, None, {"norm": "linf"}],
        [
            {
                "norm": "l2",
                "epsilon": 1.0,
                "knowledge": "adaptive",
                "risks": [1],
                "causes": {"normal": "x"},
                "per_input": 5,
            }
        ],
        [
            {
                "norm": "l2",
                "epsilon": 1.0,
                "knowledge": "adaptive",
                "inputs": math.nan,
                "per_input": {"by normal": ["<i>"]},
            }
        ],
    ],
)
def test_malformed_risks_harm_nothing(made, broken):
    found = boards([made.system("none", risks=broken)])
    text = page(found) + markdown(found)
    assert "<i>" not in text
    assert "none" in text
