"""The page's tables of foreign and shifted inputs: what every detector makes of every set, beside its robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard import _text
from leaderboard._interval import area, share
from leaderboard._markup import Markup, breakable, element, joined
from leaderboard._tables import sortable
from leaderboard._values import interval, mappings, plain
from leaderboard.rows import Board, Row

_CAPTION = (
    "No attacker. AUROC and AUPR: foreign inputs positive, as many as clean ones; 1 is perfect, .5 is chance. Then the share "
    "of foreign inputs accepted where 95 % of clean ones are, the share of clean ones rejected where 95 % of the foreign "
    "are, and what is detected at 1 and 5 % false positives. Brackets are 95 % intervals, bootstrapped for areas. The last "
    "column is what the same system holds against the adaptive attacker of the table's threat."
)
_HEADS = (
    ("system", "Defense", "", False),
    ("auroc", "AUROC", "(95 %)", True),
    ("aupr", "AUPR", "(95 %)", True),
    ("foreign_accepted", "Accepted", "%, clean at 95 %", False),
    ("clean_rejected", "Clean rejected", "%, foreign at 95 %", False),
    ("tpr_at_1", "Detected", "%, at 1 % false", True),
    ("tpr_at_5", "Detected", "%, at 5 % false", True),
    ("robust", "Robust", "% under attack", True),
)
ORDERS = tuple(key for key, *_ in _HEADS)
_AREAS = ("auroc", "aupr")


def section(board: Board, place: int) -> Markup | None:
    """A table for each set of foreign inputs; None where no system was shown any."""
    found: dict[str, list[tuple[Row, Mapping[str, Any]]]] = {}
    for row in board.rows:
        for shift in mappings(row.record.get("shifts")):
            if interval(shift.get("auroc")) is not None:
                found.setdefault(plain(shift.get("name")) or "unnamed", []).append((row, shift))
    if not found:
        return None
    tables = [_table(name, sorted(lines, key=_worst_last)) for name, lines in found.items()]
    heading = element("h2", f"Foreign and shifted inputs: {board.dataset} · {board.victim} · {board.suite}")
    note = element("p", _CAPTION, class_="note")
    return element("section", heading, *tables, note, class_="attacks", data_of=place, data_view="foreign")


def _worst_last(line: tuple[Row, Mapping[str, Any]]) -> float:
    value = interval(line[1].get("auroc"))
    return -value.value if value else 0.0


def _table(name: str, lines: Sequence[tuple[Row, Mapping[str, Any]]]) -> Markup:
    heads = joined(sortable(*head, descending=down) for *head, down in _HEADS)
    table = element(
        "table",
        element("caption", name, class_="shiftname"),
        element("thead", element("tr", heads, role="row"), role="rowgroup"),
        element("tbody", joined(_line(row, shift) for row, shift in lines), role="rowgroup"),
        class_="small attacktable sortable foreign",
        role="table",
    )
    return element("div", table, class_="scroll")


def _line(row: Row, shift: Mapping[str, Any]) -> Markup:
    flags = " ⚑" if row.flagged else ""
    cells = [
        element(
            "th",
            joined([breakable(row.name), flags]),
            scope="row",
            role="rowheader",
            class_="attack",
            data_value=row.name.lower(),
        )
    ]
    for key, title, unit, _ in _HEADS[1:]:
        value = row.metric("robust_accuracy") if key == "robust" else interval(shift.get(key))
        shown = area(value) if key in _AREAS else share(value)
        cells.append(
            element(
                "td",
                shown if value else _text.MISSING,
                role="cell",
                data_label=f"{title}, {unit}",
                data_value=value.value if value else None,
            )
        )
    return element("tr", *cells, role="row")
