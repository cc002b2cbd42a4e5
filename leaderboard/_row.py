"""A system's row in the page's table, and the head of that table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.types import Interval, Threat
from leaderboard import _text
from leaderboard._interval import area, share
from leaderboard._markup import Markup, breakable, element, joined
from leaderboard._whisker import axis, whisker
from leaderboard.rows import Board, Flag, Row


@dataclass(frozen=True)
class Column:
    """A column: the key it sorts by, its title, whether larger values come first, and a class for the styles."""

    key: str
    title: str
    unit: str
    descending: bool
    style: str


@dataclass(frozen=True)
class Shape:
    """A board and the columns of its table, worked out once."""

    board: Board
    columns: Sequence[Column]
    beside: Sequence[Threat]
    rejecting: Sequence[tuple[str, str, str]]

    @classmethod
    def of(cls, board: Board) -> Shape:
        """The shape of a board's table."""
        return cls(board, columns(board), board.beside, board.rejecting)


def columns(board: Board) -> list[Column]:
    """The columns of a board; AUROC only where a system rejects, other threats as the grid has them."""
    found = [
        Column("rank", "Rank", "", False, "rank"),
        Column("name", "Defense", "", False, "name"),
        Column("robust", "Robust accuracy", "% (95 % interval)", True, "robust"),
        Column("clean", "Clean", "%", True, "clean"),
    ]
    found += [Column(key(threat), *_two_lines(threat), True, "beside") for threat in board.beside]
    if any(row.metric("auroc") for row in board.rows):
        found.append(Column("auroc", "AUROC", "(95 %)", True, "auroc"))
    found += [Column(metric, title, unit, True, "beside rejecting") for metric, title, unit in board.rejecting]
    found.append(Column("seconds", "Time", "all tasks", False, "cost"))
    found.append(Column("forwards", "Forwards", "per input", False, "cost"))
    found.append(Column("parameters", "Parameters", "fitted", False, "cost"))
    return [*found, Column("flags", "Flags", "", False, "flags")]


def key(threat: Threat) -> str:
    """A threat as the name of a column."""
    return f"{threat.norm}-{threat.epsilon:g}-{threat.knowledge}"


def _two_lines(threat: Threat) -> tuple[str, str]:
    return _text.ball(threat.norm, threat.epsilon), f"% {threat.knowledge}"


def head(shape: Shape) -> Markup:
    """The table's head: a button a column; the script tells the direction by aria-sort."""
    return element("thead", element("tr", joined(map(_head_cell, shape.columns)), role="row"), role="rowgroup")


def _head_cell(column: Column) -> Markup:
    title = joined([element("span", column.title), element("span", class_="arrow", aria_hidden="true")])
    button = element("button", title, type="button", data_sort=column.key, data_descending=column.descending)
    below = element("span", column.unit, class_="unit") if column.unit else None
    scale = axis() if column.key == "robust" else None
    return element(
        "th", button, below, scale, scope="col", role="columnheader", class_=column.style, data_column=column.key
    )


def values(shape: Shape, row: Row) -> dict[str, Any]:
    """What a row sorts by; null values come last in either direction."""
    found: dict[str, Any] = {"rank": row.rank, "name": row.name.lower()}
    for name, metric in (("robust", "robust_accuracy"), ("clean", "clean_accuracy"), ("auroc", "auroc")):
        found[name] = _middle(row.metric(metric))
    found |= {key(threat): _middle(row.threats.get(threat)) for threat in shape.beside}
    found |= {metric: _middle(row.metric(metric)) for metric, _, _ in shape.rejecting}
    found |= {name: row.cost(name) for name in ("seconds", "forwards", "parameters")}
    return found | {"flags": sum(flag.warning for flag in row.fired) + len(row.failed)}


def _middle(value: Interval | None) -> float | None:
    return value.value if value is not None else None


def cells(shape: Shape, row: Row, number: int) -> Markup:
    """The row itself, closed; `number` is its place in the page."""
    drawn = {
        "rank": joined([row.place, _choice(row)]),
        "name": _name(row, number),
        "robust": _robust(row),
        "clean": share(row.metric("clean_accuracy")),
        "auroc": area(row.metric("auroc")),
        "seconds": _text.duration(row.cost("seconds")),
        "forwards": _text.count(row.cost("forwards")),
        "parameters": _text.count(row.cost("parameters")),
        "flags": badges(row),
    }
    drawn |= {key(threat): share(row.threats.get(threat)) for threat in shape.beside}
    drawn |= {metric: share(row.metric(metric)) for metric, _, _ in shape.rejecting}
    parts = [_cell(column, drawn[column.key]) for column in shape.columns]
    return element("tr", *parts, class_="system", role="row", data_row=number)


def _cell(column: Column, content: str) -> Markup:
    if column.key == "name":
        return element("th", content, scope="row", role="rowheader", class_=column.style)
    label = f"{column.title}, {column.unit}" if column.style.startswith("beside") else column.title
    return element("td", content, role="cell", class_=column.style, data_label=label)


def _choice(row: Row) -> Markup:
    """The box that chooses a row for a comparison; it shows once the script works."""
    box = element("input", type="checkbox", aria_label=f"Compare {row.name}", data_compare=True)
    return element("label", box, class_="choice", title="Compare")


def _name(row: Row, number: int) -> Markup:
    mark = element(
        "svg", element("path", d="M3 1.5 8 6 3 10.5"), viewBox="0 0 11 12", class_="mark", aria_hidden="true"
    )
    button = element(
        "button",
        mark,
        element("span", breakable(row.name)),
        type="button",
        aria_expanded="false",
        aria_controls=f"detail-{number}",
    )
    roles = ["undefended" if role == "none" else role for role in row.roles]
    words = [*roles, *([row.track] if row.track not in ("plain", "detector", "") else [])]
    words += [row.author] if row.author else []
    words += ["reference"] if row.origin == "reference" else []
    words += ["trusted"] if row.isolation == "none" else []
    claim = row.claims.get("robust_accuracy")
    words += [] if claim is None else [f"claimed {_text.share(claim)} %"]
    return joined([button, element("span", " · ".join(words), class_="sub")])


def _robust(row: Row) -> Markup:
    robust = row.metric("robust_accuracy")
    score = element(
        "span", element("b", _text.percent(robust)), element("span", _text.percent_range(robust), class_="range")
    )
    return element("div", score, whisker(robust, row.metric("clean_accuracy")), class_="score")


def badges(row: Row) -> Markup:
    """Fired flags in words with a sign, and failures; nothing where there is nothing to say."""
    parts = [badge(flag) for flag in row.fired]
    if row.failed:
        words = f"{len(row.failed)} failed task{'s' if len(row.failed) > 1 else ''}"
        parts.append(element("span", _sign("✗"), words, class_="badge failed"))
    return element("span", joined(parts), class_="badges") if parts else Markup("")


def badge(flag: Flag) -> Markup:
    """A flag as a word with a sign: ⚑ speaks against the number, ○ only describes."""
    kind = "warning" if flag.warning else "info"
    return element("span", _sign("⚑" if flag.warning else "○"), flag.name, class_=f"badge {kind}", title=flag.text)


def _sign(character: str) -> Markup:
    return element("span", character, class_="sign", aria_hidden="true")


def text(row: Row) -> str:
    """What the search looks through."""
    record = row.record
    words: Sequence[str] = [
        row.name,
        row.author,
        *row.roles,
        row.track,
        row.origin,
        row.remarks,
        str(record.get("id") or ""),
    ]
    return " ".join(words).lower()
