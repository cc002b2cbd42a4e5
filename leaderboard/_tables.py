"""The small tables of a system: attacks, threats, other figures, shifts, failures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.types import Threat
from leaderboard import _text
from leaderboard._interval import area, share
from leaderboard._markup import Markup, breakable, element, joined
from leaderboard._values import interval, mapping, mappings, number, plain
from leaderboard.rows import Board, Row, threat_of

_ATTACKS = (
    "Attack",
    "Threat",
    "Robust, % (95 %)",
    "Broken",
    "Median distance",
    "Forwards per input",
    "Backwards per input",
    "Time",
)
_SHIFTS = (
    "Inputs",
    "Accepted, % (95 %)",
    "AUROC",
    "AUPR",
    "Accepted where 95 % of clean are, %",
    "Clean rejected where 95 % of these are, %",
    "Detected at 1 % false positives, %",
    "Detected at 5 %, %",
)
_SHIFTS_CAPTION = (
    "No attacker; never part of the worst case. AUPR is average precision, these inputs positive and as many as clean ones. "
    "Intervals of areas and of the two columns at 95 % are bootstrapped."
)
_SHARES = ("foreign_accepted", "clean_rejected", "tpr_at_1", "tpr_at_5")


def attacks(board: Board, row: Row) -> Markup | None:
    """A line a cell: the headline's norm and size first, among equals the strongest."""
    best = strongest(board.headline, row)

    def order(cell: Mapping[str, Any]) -> tuple[bool, bool, str, float, float]:
        found, head = threat_of(cell), board.headline
        norm, epsilon = (found.norm, found.epsilon) if found else ("", 0.0)
        return norm != head.norm, epsilon != head.epsilon, norm, -epsilon, _robust(cell)

    cells = sorted(mappings(row.record.get("cells")), key=order)
    caption = "Each attack alone. Distances are medians over the inputs it fooled, in the threat's norm."
    return table(_ATTACKS, [_attack_line(cell, best) for cell in cells], caption)


def _attack_line(cell: Mapping[str, Any], best: Mapping[str, Any] | None) -> list[str]:
    found = threat_of(cell)
    return [
        joined([breakable(attack(cell)), _mark("strongest") if cell is best else None]),
        _text.threat(found) if found else _text.MISSING,
        share(interval(cell.get("robust_accuracy"))),
        _text.whole(number(cell.get("broken"))),
        _text.figure(number(cell.get("median_distance"))),
        _text.count(number(cell.get("forwards"))),
        _text.count(number(cell.get("backwards"))),
        _text.duration(number(cell.get("seconds"))),
    ]


def attack(cell: Mapping[str, Any]) -> str:
    """The attack with its parameters."""
    return plain(cell.get("label")) or plain(cell.get("attack")) or "unnamed"


def strongest(headline: Threat, row: Row) -> Mapping[str, Any] | None:
    """Of the cells that count at the headline, the one that leaves least alone."""
    cells = [cell for cell in mappings(row.record.get("cells")) if _counts(threat_of(cell), headline)]
    best = min(cells, key=_robust, default=None)
    return None if best is None or math.isinf(_robust(best)) else best


def _counts(threat: Threat | None, headline: Threat) -> bool:
    """Whether an attack's success counts: in the same norm, no larger, and with no more knowledge."""
    if threat is None or threat.norm != headline.norm or threat.epsilon > headline.epsilon * (1 + 1e-9):
        return False
    return headline.knowledge == "adaptive" or threat.knowledge == headline.knowledge


def _robust(cell: Mapping[str, Any]) -> float:
    value = interval(cell.get("robust_accuracy"))
    return math.inf if value is None else value.value


def threats(board: Board, row: Row) -> Markup | None:
    """Worst case at every threat of the grid."""
    lines = [
        [joined([_text.threat(threat), _mark("headline") if threat == board.headline else None]), share(value)]
        for threat, value in row.threats.items()
    ]
    return table(["Threat", "Robust, % (95 %)"], lines, "Worst case per input over all attacks of the threat.")


def figures(row: Row) -> Markup | None:
    """Every other metric: shares in per cent, areas as they are."""
    lines: list[list[str]] = []
    for name in mapping(row.record.get("metrics")):
        value = row.metric(name)
        if value is None or name == "robust_accuracy":
            continue
        words = plain(name).replace("_", " ")
        if "auroc" in name:
            lines.append([words.replace("auroc", "AUROC"), area(value)])
        elif 0 <= value.value <= 1:
            lines.append([f"{words}, %", share(value)])
        else:
            lines.append([words, _text.figure(value.value)])
    costs = {"seconds": _text.duration, "forwards": _text.count, "backwards": _text.count, "parameters": _text.count}
    titles = {"seconds": "time, all tasks", "parameters": "parameters, fitted"}
    for name, text in costs.items():
        cost = row.cost(name)
        if cost is not None:
            lines.append([titles.get(name, f"{name} per input"), text(cost)])
    return table(["Figure", "Value (95 %)"], lines)


def shifts(row: Row) -> Markup | None:
    """Inputs from elsewhere: how many are accepted, and how well the score tells them apart."""
    lines = [
        [
            breakable(plain(shift.get("name")) or "unnamed"),
            share(interval(shift.get("accepted"))),
            *(area(interval(shift.get(name))) for name in ("auroc", "aupr")),
            *(share(interval(shift.get(name))) for name in _SHARES),
        ]
        for shift in mappings(row.record.get("shifts"))
    ]
    return table(_SHIFTS, lines, _SHIFTS_CAPTION)


def failures(row: Row) -> Markup | None:
    """Tasks that failed and the last line of their errors."""
    lines = [[breakable(plain(item.get("task"))), plain(item.get("error"))] for item in row.failed]
    return table(["Task", "Error"], lines, "They are tried again when the command is repeated.")


def _mark(word: str) -> Markup:
    return element("span", word, class_="badge info")


def table(header: Sequence[str], lines: Iterable[Sequence[str]], caption: str = "") -> Markup | None:
    """A table whose first column names its lines; on narrow screens every line is a card. None without lines."""
    rows = [element("tr", _name(line[0]), joined(map(_cell, header[1:], line[1:])), role="row") for line in lines]
    if not rows:
        return None
    titles = joined(element("th", title, scope="col", role="columnheader") for title in header)
    head = element("thead", element("tr", titles, role="row"), role="rowgroup")
    note = element("caption", caption) if caption else None
    return element("table", note, head, element("tbody", joined(rows), role="rowgroup"), class_="small", role="table")


def sortable(key: str, title: str, unit: str, *, descending: bool) -> Markup:
    """The head of a column that the script sorts by; descending: at first from the largest on."""
    words = joined([element("span", title), element("span", class_="arrow", aria_hidden="true")])
    button = element("button", words, type="button", data_order=key, data_descending=descending)
    below = element("span", unit, class_="unit") if unit else None
    return element("th", button, below, scope="col", role="columnheader", data_order=key)


def _name(content: str) -> Markup:
    return element("th", content, scope="row", role="rowheader")


def _cell(title: str, content: str) -> Markup:
    return element("td", content, role="cell", data_label=title)
