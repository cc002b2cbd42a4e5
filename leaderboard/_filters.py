"""The page's filters: a list for each thing that rows differ in, a search, a reset, and the order on narrow screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboard import _text
from leaderboard._markup import Markup, element
from leaderboard.rows import Board, Row

_TITLES: Mapping[str, str] = {"dataset": "Data set", "threat": "Headline threat"}
_NARROW_SORTS = (
    ("rank", "Rank"),
    ("robust", "Robust accuracy"),
    ("clean", "Clean accuracy"),
    ("name", "Name"),
    ("seconds", "Time"),
)


def answers(board: Board, row: Row) -> dict[str, list[str]]:
    """What a row answers to in each filter."""
    head = board.headline
    fired = [flag.name for flag in row.fired]
    speaks = any(flag.warning for flag in row.fired)
    return {
        "suite": [board.suite],
        "size": [board.size],
        "dataset": [board.dataset],
        "victim": [board.victim],
        "norm": [_text.norm(head.norm)],
        "threat": [_text.threat(head)],
        "role": row.roles,
        "track": [row.track] if row.track else [],
        "origin": [row.origin],
        "flags": ["flagged" if speaks else "without flags", *(["failed tasks"] if row.failed else []), *fired],
    }


def form(boards: Sequence[Board]) -> Markup:
    """A list a filter, where there is a choice; it shows once the script works."""
    choices: dict[str, dict[str, None]] = {}
    for board in boards:
        for row in board.rows:
            for name, values in answers(board, row).items():
                choices.setdefault(name, {}).update(dict.fromkeys(values))
    lists = [
        _select(name, _TITLES.get(name, name.capitalize()), list(values))
        for name, values in choices.items()
        if len(values) > 1
    ]
    search = element(
        "label",
        element("span", "Search"),
        element("input", type="search", name="q", placeholder="defense, author, flag", autocomplete="off"),
    )
    order = element(
        "label",
        element("span", "Order"),
        element("select", *(element("option", text, value=name) for name, text in _NARROW_SORTS), name="sort"),
        class_="order",
    )
    reset = element("button", "Reset", type="reset", disabled=True)
    saves = [element("button", name, type="button", data_save=name.lower()) for name in ("CSV", "JSON")]
    save = element("span", element("span", "Download", class_="label"), *saves, class_="saves")
    live = element("p", class_="live", role="status", aria_live="polite")
    return element("form", *lists, search, order, reset, save, live, class_="filters", aria_label="Filters", inert=True)


def _select(name: str, title: str, values: Sequence[str]) -> Markup:
    options = [element("option", "all", value=""), *(element("option", value, value=value) for value in sorted(values))]
    return element("label", element("span", title), element("select", *options, name=name))
