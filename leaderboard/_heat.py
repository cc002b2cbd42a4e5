"""What breaks what: attacks against defenses as a table whose cells are the darker the more an attack breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leaderboard import _text
from leaderboard._markup import Markup, breakable, element, joined
from leaderboard._values import mappings, number, plain
from leaderboard.attacks import Line
from leaderboard.rows import Board, Row, threat_of

_MOST = 24
_CAPTION = (
    "Of the inputs that were right when clean, the share that an attack alone broke, in %; of those it was given, as the "
    "later attacks of a schedule get only what the earlier left. Outlined: the largest share against a defense. – was not run, "
    "or was given nothing."
)


def table(board: Board, lines: list[Line]) -> Markup | None:
    """Attacks of the headline's ball against the first 24 systems; None with fewer than two of either."""
    rows = [row for row in board.rows if mappings(row.record.get("cells"))][:_MOST]
    if len(rows) < 2 or len(lines) < 2:
        return None
    shares = [_shares(row) for row in rows]
    worst = [max(found.values(), default=0.0) for found in shares]
    heads = [
        element("th", breakable(f"{row.place} {row.name}"), scope="col", role="columnheader", class_="turned")
        for row in rows
    ]
    first = element("th", "Attack", scope="col", role="columnheader")
    body = [_line(line, shares, worst) for line in lines]
    whole = element(
        "table",
        element("caption", _CAPTION),
        element("thead", element("tr", first, *heads, role="row"), role="rowgroup"),
        element("tbody", joined(body), role="rowgroup"),
        class_="heat",
        role="table",
    )
    scroll = element(
        "div",
        whole,
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=f"What breaks what: {board.title}, {board.suite}",
    )
    return element("details", element("summary", "What breaks what"), scroll)


def _key(cell: Mapping[str, Any]) -> tuple[str, Any]:
    return plain(cell.get("attack")) or "unnamed", threat_of(cell)


def _shares(row: Row) -> dict[tuple[str, Any], float]:
    found = {}
    for cell in mappings(row.record.get("cells")):
        broken, right = number(cell.get("broken")), number(cell.get("right"))
        if broken is not None and right:
            found[_key(cell)] = min(1.0, broken / right)
    return found


def _line(line: Line, shares: list[dict[tuple[str, Any], float]], worst: list[float]) -> Markup:
    knowledge = element("span", line.threat.knowledge, class_="range")
    name = element("th", joined([breakable(line.attack), " ", knowledge]), scope="row", role="rowheader")
    cells = [_cell(found.get((line.attack, line.threat)), most) for found, most in zip(shares, worst, strict=True)]
    return element("tr", name, *cells, role="row")


def _cell(share: float | None, most: float) -> Markup:
    if share is None:
        return element("td", _text.MISSING, role="cell", class_="unknown")
    strongest = share == most and share > 0
    level = round(100 * share)
    return element(
        "td",
        f"{100 * share:.0f}",
        role="cell",
        class_="strongest" if strongest else None,
        style=f"--share:{level}%",
        title="the largest share against this defense" if strongest else None,
    )
