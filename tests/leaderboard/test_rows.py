"""Boards keep apart what cannot be compared, and rows survive whatever a record lacks."""

from __future__ import annotations

import math

from harness.types import Interval, Threat
from leaderboard.rows import boards

HEADLINE = Threat("linf", 0.1, "adaptive")


def names(board):
    return [(row.place, row.name) for row in board.rows]


def test_no_records_no_boards():
    assert boards([]) == []


def test_one_system_is_first_and_not_tied(made):
    (board,) = boards([made.system()])
    assert names(board) == [("1", "none")]
    assert board.headline == HEADLINE
    assert board.title == "fashion_mnist · cnn · ℓ∞ 0.1, adaptive"


def test_equal_systems_are_ties(made):
    (board,) = boards([made.system("a"), made.system("a"), made.system("b", robust=0.1)])
    assert names(board) == [("=1", "a"), ("=1", "a"), ("3", "b")]


def test_failed_systems_come_last_without_a_rank(made):
    (board,) = boards([made.failed("broken"), made.system("weak", robust=0.01)])
    assert names(board) == [("1", "weak"), ("–", "broken")]
    assert board.rows[1].remarks == "1 failed task"


def test_all_failed(made):
    (board,) = boards([made.failed("b"), made.failed("a")])
    assert names(board) == [("–", "a"), ("–", "b")]
    assert board.beside == []


def test_what_cannot_be_compared_has_a_board_of_its_own(made):
    changes = ({}, {"victim": "mlp"}, {"dataset": "digits"}, {"size": "dev"}, {"seed": 1}, {"suite": "other-1"})
    headline = {"headline": {"norm": "l2", "epsilon": 1.5, "knowledge": "adaptive"}}
    found = boards([made.system(**change) for change in (*changes, headline)])
    assert len(found) == 7
    assert all(names(board) == [("1", "none")] for board in found)


def test_official_boards_come_first_and_earlier_suites_last(made):
    found = boards(
        [
            made.system(suite="fashion-9", grid="official"),
            made.system(suite="fashion-10", grid="official"),
            made.system(suite="own", grid="own", created="2027-01-01T00:00:00Z"),
        ]
    )
    assert [(board.suite, board.superseded) for board in found] == [
        ("fashion-10", False),
        ("own", False),
        ("fashion-9", True),
    ]


def test_flagged_systems_stand_behind_unflagged_ones_of_their_rank(made):
    flags = [made.flag("zero-gradient", fired=True), made.flag("random", fired=True, severity="info")]
    (board,) = boards([made.system("a", flags=flags), made.system("a")])
    assert [row.flagged for row in board.rows] == [False, True]
    assert board.rows[1].remarks == "zero-gradient, (random)"


def test_missing_and_malformed_values_become_none(made):
    empty = made.system(
        metrics={"robust_accuracy": {"value": 0.5, "low": None}, "clean_accuracy": {"value": math.nan}, "auroc": None},
        threats=[None, {"norm": "l2"}, {"norm": "l2", "epsilon": 1, "knowledge": "adaptive"}],
        flags=None,
        failed="no",
        seconds=math.inf,
        forwards=True,
        submission="me",
        roles=None,
    )
    (board,) = boards([empty])
    (row,) = board.rows
    robust = row.metric("robust_accuracy")
    assert robust.value == 0.5
    assert math.isnan(robust.low)
    assert row.metric("clean_accuracy") is None
    assert (row.threats, row.flags, row.failed, row.roles, row.author) == ({}, [], [], ["none"], "")
    assert (row.cost("seconds"), row.cost("forwards")) == (None, None)


def test_a_record_with_next_to_nothing(made):
    needed = ("schema", "suite", "dataset", "victim", "defense", "headline")
    record = {name: value for name, value in made.system().items() if name in needed}
    (board,) = boards([record])
    assert names(board) == [("–", "none")]
    assert board.inputs is None
    assert board.provenance == "suite fashion-1"


def test_threats_beside_the_headline(made):
    (board,) = boards([made.system()])
    assert board.beside[0] == Threat("linf", 0.1, "oblivious")
    assert all(threat != board.headline for threat in board.beside)
    assert len(board.beside) == 3
    assert isinstance(board.rows[0].threats[HEADLINE], Interval)


def test_names_lose_what_steers_a_terminal(made):
    (board,) = boards([made.system("a\x1b[31m\u202ered\nb")])
    assert board.rows[0].name == "a�[31m�red b"


def test_claims_beside_what_was_measured(made):
    told = {"claimed": {"robust_accuracy": 0.9, "clean_accuracy": "much"}, "isolation": "bubblewrap"}
    (board,) = boards([made.system(robust=0.3, submission=told), made.system("other", robust=0.3)])
    rows = {row.name: row for row in board.rows}
    claimed, other = (rows[name] for name in sorted(rows, key=lambda name: name == "other"))
    assert claimed.claims == {"robust_accuracy": 0.9}
    assert (claimed.isolation, claimed.contradicted) == ("bubblewrap", True)
    assert (other.claims, other.isolation, other.contradicted) == ({}, "", False)


def test_a_claim_stands_in_the_row_and_beneath_it(made):
    from leaderboard import _detail, _row

    told = {"claimed": {"robust_accuracy": 0.55}, "isolation": "none"}
    (board,) = boards([made.system(robust=0.3, submission=told)])
    (row,) = board.rows
    assert "trusted · claimed 55.0 %" in _row.cells(_row.Shape.of(board), row, 0)
    beneath = str(_detail.detail(board, row))
    assert "Robust 55.0 % claimed, 30.0 (" in beneath
    assert (
        "its code ran in the judge&#x27;s own process, trusted." in beneath
        or "judge's own process, trusted." in beneath
    )
