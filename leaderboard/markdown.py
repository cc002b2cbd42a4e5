"""Boards as Markdown tables, for a terminal, a README and MLflow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from leaderboard import _text
from leaderboard._row import rejecting
from leaderboard.rows import Board, Row

_LEGEND = """\
Robust: right and accepted when clean, and never wrong and accepted under any attack of the threat; worst case per
input, in % with its 95 % interval. Equal ranks (=) are not told apart by a paired test. Flags in parentheses only
describe."""


def markdown(boards: Sequence[Board]) -> str:
    """All boards, one table each."""
    sections = ["# Leaderboard", *map(section, boards)]
    if not boards:
        sections.append("No systems yet: `harness run quick` evaluates the first ones.")
    else:
        sections.append(_LEGEND)
    return "\n\n".join(sections) + "\n"


def section(board: Board) -> str:
    """One board: its title, where it comes from, its table."""
    lines = [f"## {escaped(board.title)}", "", escaped(board.provenance)]
    if board.superseded:
        lines[-1] += " · an earlier suite, not to be compared with the newer one"
    lines += [line for note in board.notes for line in ("", f"Note: {escaped(note)}")]
    return "\n".join([*lines, "", table(board), *_found(board)])


def _found(board: Board) -> list[str]:
    """The flags that fired, with what they found, a line for each."""
    lines = [escaped(f"{row.name}: {flag.word}: {flag.text}") for row in board.rows for flag in row.fired]
    return ["", *(f"- {line}" for line in lines)] if lines else []


def table(board: Board) -> str:
    """The table of a board: rank, defense, robust and clean accuracy, other threats, AUROC, cost, flags."""
    beside = board.beside
    detects = any(row.metric("auroc") for row in board.rows)
    header = ["rank", "defense", "robust % (95 %)", "clean %", *(f"{_text.threat(threat)} %" for threat in beside)]
    beside_detectors = rejecting(board)
    header += [*(["AUROC"] if detects else []), *(f"{title} %" for _, title, _ in beside_detectors), "time", "flags"]
    alignment = ["---:", ":---", "---:", "---:", *("---:" for _ in beside)]
    alignment += [*(["---:"] if detects else []), *("---:" for _ in beside_detectors), "---:", ":---"]
    body = [_cells(row, board, detects) for row in board.rows]
    return "\n".join(_line(cells) for cells in ([escaped(title) for title in header], alignment, *body))


def _cells(row: Row, board: Board, detects: bool) -> list[str]:
    name = escaped(row.name) + (f" ({escaped(row.author)})" if row.author else "")
    cells = [row.place, name, _text.percent_interval(row.metric("robust_accuracy"))]
    cells.append(_text.percent(row.metric("clean_accuracy")))
    cells += [_text.percent(row.threats.get(threat)) for threat in board.beside]
    if detects:
        auroc = row.metric("auroc")
        cells.append(_text.area(auroc).split(" ")[0])
    cells += [_text.percent(row.metric(metric)) for metric, _, _ in rejecting(board)]
    return [*cells, _text.duration(row.cost("seconds")), escaped(row.remarks)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no table, link, emphasis, formula or HTML in it."""
    text = re.sub(r"([\\`*\[\]<>|~$&])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
