"""Boards as one HTML page: styles, script, data and pictures inside it, no network and no library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from leaderboard import _attacks, _risks, _row, _text
from leaderboard._detail import detail
from leaderboard._markup import Markup, element, joined, script_json
from leaderboard.attacks import Selftest
from leaderboard.rows import Board, Row

SHOWN = 200
_NARROW_SORTS = (
    ("rank", "Rank"),
    ("robust", "Robust accuracy"),
    ("clean", "Clean accuracy"),
    ("name", "Name"),
    ("seconds", "Time"),
)


def page(boards: Sequence[Board], selftests: Mapping[str, Selftest] | None = None) -> str:
    """The whole page; the first 200 rows of a board show without script. selftests: of attacks, by their labels."""
    numbered = list(_numbered(boards))
    names = {place: [(number, row) for at, number, row in numbered if at == place] for place in range(len(boards))}
    template = Template(_asset("page.html"))
    return template.substitute(
        style=_asset("board.css"),
        script=_asset("board.js"),
        summary=_summary(boards),
        filters=_filters(boards) if numbered else "",
        boards=joined(
            part
            for place, board in enumerate(boards)
            for part in (
                _board(board, place, names[place]),
                _attacks.section(board, place, selftests or {}),
                _risks.section(board, place),
            )
        )
        or _nothing(),
        details=joined(element("template", detail(boards[at], row), id=f"content-{n}") for at, n, row in numbered),
        data=script_json({"shown": SHOWN, "rows": [_facts(boards[at], at, row) for at, _, row in numbered]}),
    )


def _asset(name: str) -> str:
    return files("leaderboard").joinpath("assets", name).read_text(encoding="utf-8")


def _numbered(boards: Sequence[Board]) -> Iterator[tuple[int, int, Row]]:
    """Every row with the place of its board and its own number on the page."""
    number = 0
    for place, board in enumerate(boards):
        for row in board.rows:
            yield place, number, row
            number += 1


def _nothing() -> Markup:
    return element(
        "p", "No systems yet: ", element("code", "harness run quick"), " evaluates the first ones.", class_="empty"
    )


def _summary(boards: Sequence[Board]) -> Markup:
    systems = sum(len(board.rows) for board in boards)
    if not systems:
        return Markup("")
    suites = ", ".join(dict.fromkeys(board.suite for board in boards))
    many = len(boards) > 1
    words = [
        f"{systems} system{'s' if systems > 1 else ''}{f' on {len(boards)} boards' if many else ''}",
        f"suite{'s' if ',' in suites else ''} {suites}",
        f"newest record {max(board.created for board in boards)}",
    ]
    return element("p", " · ".join(words), class_="summary")


def _board(board: Board, place: int, rows: Sequence[tuple[int, Row]]) -> Markup:
    """One board: title, notes and table; rows beyond the first 200 wait in a template for the script."""
    drawn = [_row.cells(board, row, number) for number, row in rows]
    heading = element(
        "h2",
        board.dataset,
        element("span", board.victim, class_="victim"),
        element("span", _text.threat(board.headline), class_="threat"),
    )
    notes = joined(element("p", note, class_="callout") for note in board.notes)
    old = element(
        "p", "An earlier suite: its numbers are not to be compared with those of the newer one.", class_="callout"
    )
    body = element("tbody", joined(drawn[:SHOWN]), role="rowgroup")
    table = element("table", _caption(board), _row.head(board), body, class_="board", role="table")
    rest = element("template", joined(drawn[SHOWN:]), class_="rest") if len(drawn) > SHOWN else None
    more = element("button", type="button", class_="more", hidden=True)
    head = element("header", heading, element("p", board.provenance, class_="provenance"))
    parts = [head, notes, old if board.superseded else None, element("div", table, class_="scroll"), rest, more]
    return element("section", joined(parts), class_="boardsection", data_board=place)


def _caption(board: Board) -> Markup:
    words = "Ranks compare only inside this table; = marks ranks that a paired test cannot tell apart."
    count = f"{len(board.rows)} system{'s' if len(board.rows) > 1 else ''}"
    return element("caption", f"{board.title}: {count}. {words}")


def _facts(board: Board, place: int, row: Row) -> dict[str, Any]:
    """What the script filters and sorts a row by."""
    return {
        "id": str(row.record.get("id") or ""),
        "board": place,
        "sort": _row.values(board, row),
        "filter": filters(board, row),
        "text": _row.text(row) + f" {board.dataset} {board.victim}".lower(),
    }


def filters(board: Board, row: Row) -> dict[str, list[str]]:
    """What a row answers to in each filter."""
    fired = [flag.name for flag in row.fired]
    speaks = any(flag.warning for flag in row.fired)
    return {
        "suite": [board.suite],
        "size": [board.size],
        "dataset": [board.dataset],
        "victim": [board.victim],
        "threat": [_text.threat(board.headline)],
        "role": row.roles,
        "flags": ["flagged" if speaks else "without flags", *(["failed tasks"] if row.failed else []), *fired],
    }


def _filters(boards: Sequence[Board]) -> Markup:
    """A list a filter, where there is a choice; a search, a reset and, on narrow screens, the order."""
    choices: dict[str, dict[str, None]] = {}
    for board in boards:
        for row in board.rows:
            for name, values in filters(board, row).items():
                choices.setdefault(name, {}).update(dict.fromkeys(values))
    titles: Mapping[str, str] = {"dataset": "Data set", "threat": "Headline threat"}
    lists = [
        _select(name, titles.get(name, name.capitalize()), list(values))
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
    live = element("p", class_="live", role="status", aria_live="polite")
    return element("form", *lists, search, order, reset, live, class_="filters", aria_label="Filters", hidden=True)


def _select(name: str, title: str, values: Sequence[str]) -> Markup:
    options = [element("option", "all", value=""), *(element("option", value, value=value) for value in sorted(values))]
    return element("label", element("span", title), element("select", *options, name=name))
