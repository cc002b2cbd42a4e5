"""Filters keep ranks; what does not exist is said with what does; names and ids find systems."""

from __future__ import annotations

import pytest

from leaderboard.choose import Filters, candidates, chosen, kept, pair, systems, unknown
from leaderboard.rows import boards


def names(found):
    return [[row.name for row in board.rows] for board in found]


@pytest.fixture(scope="module")
def found(made):
    flagged = [made.flag("zero-gradient", fired=True), made.flag("random", fired=True, severity="info")]
    told = {"claimed": {"robust_accuracy": 0.9}}
    return boards(
        [
            made.system("a", robust=0.8),
            made.system("gaussian_blur", robust=0.4, flags=flagged),
            made.system("gaussian_noise", robust=0.1, submission=told),
            made.system("a", victim="mlp", dataset="digits", size="dev", suite="own-1"),
        ]
    )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [["a", "gaussian_blur", "gaussian_noise"], ["a"]]),
        (Filters(suite="own-1"), [["a"]]),
        (Filters(dataset="fashion_mnist", victim="cnn", size="official", top=1), [["a"]]),
        (Filters(defense="GAUSS"), [["gaussian_blur", "gaussian_noise"]]),
        (Filters(flags=""), [["gaussian_blur"]]),
        (Filters(flags="zero-gradient"), [["gaussian_blur"]]),
        (Filters(unflagged=True), [["a", "gaussian_noise"], ["a"]]),
        (Filters(claims=True), [["gaussian_noise"]]),
        (Filters(top=2), [["a", "gaussian_blur"], ["a"]]),
    ],
)
def test_filters(found, filters, expected):
    assert names(chosen(found, filters)) == expected


def test_ranks_stay_those_among_all(found):
    (board,) = chosen(found, Filters(defense="noise"))
    assert [row.place for row in board.rows] == ["3"]


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (
            Filters(suite="fashon-1"),
            "no record has the suite 'fashon-1': did you mean fashion-1.*known: fashion-1, own-1",
        ),
        (Filters(dataset="mnist"), "data set 'mnist'.*digits, fashion_mnist"),
        (Filters(victim="resnet"), "victim 'resnet'.*cnn, mlp"),
        (Filters(size="smoke"), "size 'smoke'.*dev, official"),
        (Filters(defense="blurr"), "defense 'blurr'.*gaussian_blur"),
        (Filters(flags="zero"), "flag 'zero'.*zero-gradient"),
        (Filters(suite="own-1", defense="blur"), "no system has all of this: suite own-1, defense with 'blur'"),
        (Filters(victim="mlp", flags=""), "victim mlp, a flag"),
        (Filters(victim="mlp", claims=True), "victim mlp, a claim"),
        (Filters(flags="", unflagged=True), "not both"),
        (Filters(top=0), "1 or more, not 0"),
    ],
)
def test_what_does_not_exist_is_said(found, filters, words):
    with pytest.raises(ValueError, match=words):
        chosen(found, filters)


def test_an_empty_folder_has_no_unknown_names(made):
    assert chosen([], Filters(suite="any", defense="any")) == []
    (board,) = chosen(boards([made.failed("b")]), Filters(defense="b"))
    assert names([board]) == [["b"]]


def test_many_known_names_are_cut():
    words = unknown("x", (f"defense {i}" for i in range(1000)), "defense")
    assert "and 988 more" in words
    assert len(words) < 400


def test_systems_by_name_and_by_the_start_of_an_id(made):
    records = [made.system("a"), made.system("b")]
    assert systems(records, "b") == [records[1]]
    assert systems(records, records[0]["id"][:6]) == [records[0]]
    with pytest.raises(ValueError, match=r"'c'.*known: a, b; the first 4 or more characters"):
        systems(records, "c")
    with pytest.raises(ValueError, match="no record"):
        systems(records, records[0]["id"][:3])


def test_a_pair_is_the_only_one_that_can_be_compared(made):
    records = [made.system("a"), made.system("a", victim="mlp"), made.system("b", victim="mlp")]
    assert pair(records, "a", "b") == (records[1], records[2])


def test_an_ambiguous_pair_lists_the_candidates(made):
    records = [made.system(name, victim=victim) for name in ("a", "b") for victim in ("cnn", "mlp")]
    with pytest.raises(ValueError, match="may mean several") as told:
        pair(records, "a", "b")
    assert all(record["id"] in str(told.value) for record in records)
    assert pair(records, records[0]["id"], "b") == (records[0], records[2])


def test_own_records_come_before_those_that_ship(made):
    ship = [made.system(name, suite="official-2", reference=True) for name in ("a", "b", "c")]
    own = [made.system(name) for name in ("a", "b")]
    assert pair([*ship, *own], "a", "b") == (own[0], own[1])
    assert pair([*ship, *own], "a", "c") == (ship[0], ship[2])


def test_pairs_that_make_no_comparison(made):
    records = [made.system("a"), made.system("b", victim="mlp")]
    with pytest.raises(ValueError, match="cannot be compared: victim cnn against mlp"):
        pair(records, "a", "b")
    with pytest.raises(ValueError, match="same system"):
        pair(records, "a", "a")


def test_of_many_candidates_the_first(made):
    assert candidates([made.system(f"d{i}") for i in range(40)]).endswith("and 28 more")


def test_records_of_a_setting(made):
    records = [made.system("a"), made.system("b", victim="mlp")]
    assert kept(records, Filters(victim="mlp", suite="fashion-1")) == records[1:]
    assert kept([], Filters(victim="mlp")) == []
    with pytest.raises(ValueError, match="victim 'mpl': did you mean mlp"):
        kept(records, Filters(victim="mpl"))
