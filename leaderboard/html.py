"""Boards as one HTML page: styles, script, data and pictures inside it, no network and no library."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from harness.tracked import identity
from leaderboard import _attacks, _filters, _foreign, _papers, _plots, _risks, _row, _similarity, _text
from leaderboard._detail import detail
from leaderboard._markup import Markup, element, joined, script_json
from leaderboard._outcomes import outcomes
from leaderboard._pack import packed, packed_json
from leaderboard._values import mapping, plain
from leaderboard.attacks import Selftest
from leaderboard.export import columns_of, finite
from leaderboard.history import Past
from leaderboard.rows import Board, Row, Setting

PAGE = "leaderboard.html"
SYSTEMS = "systems"
SHOWN = 200  # rows of a board at first, and with every "show more"
MOST = 500  # rows of all boards that show without script
ROOM = 4_500_000  # characters of the page
VIEWED = 500_000  # characters of all sections but the rankings that show without script
_SCRIPTS = ("data.js", "state.js", "ranking.js", "compare.js", "inputs.js", "download.js", "main.js")
_VIEWS = {
    "ranking": "Ranking",
    "attacks": "Attacks",
    "foreign": "Foreign inputs",
    "risks": "Risks",
    "similarity": "Representations",
    "papers": "Papers",
}


def page(boards: Sequence[Board], selftests: Mapping[str, Selftest] | None = None) -> str:
    """The whole page, without the files beside it."""
    return site(boards, selftests)[PAGE]


def site(
    boards: Sequence[Board],
    selftests: Mapping[str, Selftest] | None = None,
    *,
    pictures: Mapping[str, Mapping[str, Any]] | None = None,
    pasts: Sequence[Past] = (),
    reports: Mapping[str, str] | None = None,
    room: int = ROOM,
) -> dict[str, str]:
    """The page and what lies beside it, as texts by name.

    Its first rows and sections show without script. The others, details and outcomes wait in it, packed; details beyond
    `room` characters become files of their own, loaded when their row is opened. selftests: of attacks, by their labels.
    pictures: where the pictures of every input lie, by the ids of records; pasts: what records said before.
    reports: of papers, Markdown by name.
    """
    before = {(past.setting, past.defense): past for past in pasts}
    shapes = [_row.Shape.of(board) for board in boards]
    systems = list(_systems(boards))
    first, rest = _split(systems)
    sections, held = _held(_sections(shapes, first, selftests or {}))
    papers = dict(reports or {})
    if told := _papers.section(papers):
        sections.append(("papers", told))
    parts = {
        "style": _asset("board.css"),
        "script": "\n".join(map(_asset, _SCRIPTS)),
        "summary": _summary(boards),
        "tabs": _tabs(sections) if sections else "",
        "filters": _filters.form(boards) if systems else "",
        "boards": joined(text for _, text in sections) or _nothing(),
    }
    data = {
        "shown": SHOWN,
        "facts": packed_json([_facts(shapes[system.board], system, pictures or {}) for system in systems]),
        "table": packed_json([_table(board) for board in boards]),
        "reports": {name: packed(_papers.rendered(text)) for name, text in papers.items()},
        "held": [system.number for system in rest],
        "rows": packed("\n".join(_drawn(shapes[s.board], s).replace("\n", "&#10;") for s in rest)),
        "sections": held,
        "orders": [*_attacks.ORDERS, *_foreign.ORDERS],
    }
    left = room - sum(map(len, parts.values())) - len(script_json(data))
    inside: dict[int, str] = {}
    beside: dict[str, str] = {}
    for system in systems:
        text = packed_json(_content(boards[system.board], system.row, before))
        left -= len(text)
        if left >= 0:
            inside[system.number] = text
        else:
            call = f"boardReceives({json.dumps(system.id)}, {json.dumps(text)});\n"
            beside[f"{SYSTEMS}/{system.id}.js"] = call
    parts["data"] = script_json(data | {"details": inside})
    return {PAGE: Template(_asset("page.html")).substitute(parts), **beside}


@dataclass(frozen=True)
class _System:
    """A row, its number on the page, the place of its board, and what it is called in addresses and files."""

    number: int
    board: int
    row: Row
    id: str


@dataclass(frozen=True)
class _Section:
    """A section of the page, its view, and the place of its board; one that stays does not wait packed."""

    view: str
    place: int
    text: Markup
    stays: bool = False


def _systems(boards: Sequence[Board]) -> Iterator[_System]:
    """All rows, each called by the id of its record, or by a digest where that is no hexadecimal number or another's too."""
    found = [(place, row) for place, board in enumerate(boards) for row in board.rows]
    ids = Counter(plain(row.record.get("id")) for _, row in found)
    taken: set[str] = set()
    for number, (place, row) in enumerate(found):
        name = plain(row.record.get("id"))
        if ids[name] > 1 or not re.fullmatch(r"[0-9a-f]{8,64}", name):
            name = _digest(f"{name} {identity(row.record)}")
        if name in taken:
            name = _digest(f"{name} {number}")
        taken.add(name)
        yield _System(number, place, row, name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _split(systems: Sequence[_System]) -> tuple[dict[int, list[_System]], list[_System]]:
    """Those that show at once, by board, and the others."""
    first: dict[int, list[_System]] = {}
    rest: list[_System] = []
    total = 0
    for system in systems:
        shown = first.setdefault(system.board, [])
        if len(shown) < SHOWN and total < MOST:
            shown.append(system)
            total += 1
        else:
            rest.append(system)
    return first, rest


def _asset(name: str) -> str:
    return files("leaderboard").joinpath("assets", name).read_text(encoding="utf-8")


def _content(board: Board, row: Row, before: Mapping[tuple[Setting, str], Past]) -> dict[str, Any]:
    """What opens beneath a row, and what became of its inputs."""
    past = before.get(
        (Setting(board.suite, board.size, board.dataset, board.victim, board.headline, board.seed), row.name)
    )
    return {"html": detail(board, row, past), "outcomes": outcomes(mapping(row.record.get("per_input")))}


def _drawn(shape: _row.Shape, system: _System) -> Markup:
    return _row.cells(shape, system.row, system.number)


def _table(board: Board) -> dict[str, Any]:
    """What the page's downloads hold: the columns of the CSV file, and a line a system."""
    lines = [finite(columns_of(board, row)) for row in board.rows]
    names = list(dict.fromkeys(name for line in lines for name in line))
    return {"columns": names, "lines": [[line.get(name) for name in names] for line in lines]}


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
        f"{systems:,} system{'s' if systems > 1 else ''}{f' on {len(boards)} boards' if many else ''}",
        f"suite{'s' if ',' in suites else ''} {suites}",
        f"newest record {max(board.created for board in boards)}",
    ]
    return element("p", " · ".join(words), class_="summary")


def _sections(
    shapes: Sequence[_row.Shape], first: Mapping[int, Sequence[_System]], selftests: Mapping[str, Selftest]
) -> Iterator[_Section]:
    """The page's sections."""
    for place, shape in enumerate(shapes):
        board = shape.board
        yield _Section("ranking", place, _board(shape, place, first.get(place, [])), stays=True)
        found = [
            ("ranking", _plots.section(board, place)),
            ("attacks", _attacks.section(board, place, selftests)),
            ("foreign", _foreign.section(board, place)),
            ("risks", _risks.section(board, place)),
            ("similarity", _similarity.section(board, place, [each.board for each in shapes])),
        ]
        yield from (_Section(view, place, text) for view, text in found if text)


def _held(sections: Iterable[_Section]) -> tuple[list[tuple[str, Markup]], list[str]]:
    """The sections with their views, and those that wait packed: in their place is one that names their number."""
    shown, held, left = list[tuple[str, Markup]](), list[str](), VIEWED
    for each in sections:
        left -= 0 if each.stays else len(each.text)
        if each.stays or left >= 0:
            shown.append((each.view, each.text))
        else:
            named = element("section", class_="held", data_of=each.place, data_view=each.view, data_held=len(held))
            shown.append((each.view, named))
            held.append(packed(each.text))
    return shown, held


def _tabs(sections: Sequence[tuple[str, Markup]]) -> Markup:
    """The views that have something to show; the script opens one at a time."""
    found = {view for view, _ in sections}
    buttons = [
        element("button", title, type="button", data_view_of=view) for view, title in _VIEWS.items() if view in found
    ]
    compare = element("button", "Compare", type="button", data_view_of="compare")
    return element("nav", *buttons, compare, class_="tabs", aria_label="Views", inert=True)


def _board(shape: _row.Shape, place: int, systems: Sequence[_System]) -> Markup:
    """One board: title, notes and table; further rows are made by the script."""
    board = shape.board
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
    body = element("tbody", joined(_drawn(shape, system) for system in systems), role="rowgroup")
    table = element(
        "table",
        _caption(board),
        _row.head(shape),
        body,
        class_="board detectors" if board.rejecting else "board",
        role="table",
    )
    more = element("button", type="button", class_="more", hidden=True)
    head = element("header", heading, element("p", board.provenance, class_="provenance"))
    parts = [head, notes, old if board.superseded else None, element("div", table, class_="scroll"), more]
    return element("section", joined(parts), class_="boardsection", data_board=place, data_view="ranking")


def _caption(board: Board) -> Markup:
    words = "Ranks compare only inside this table; = marks ranks that a paired test cannot tell apart."
    count = f"{len(board.rows):,} system{'s' if len(board.rows) > 1 else ''}"
    return element("caption", f"{board.title}: {count}. {words}")


def _facts(shape: _row.Shape, system: _System, pictures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the script knows of a row: what it is sorted and filtered by, and where its files lie."""
    board, row = shape.board, system.row
    name = str(row.record.get("id") or "")
    facts = {
        "id": system.id,
        "name": row.name,
        "place": row.place,
        "board": system.board,
        "sort": _row.values(shape, row),
        "filter": _filters.answers(board, row),
        "text": _row.text(row) + f" {board.dataset} {board.victim}".lower(),
    }
    return facts | ({"pictures": pictures[name]} if name in pictures and name == system.id else {})
