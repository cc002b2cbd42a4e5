"""Boards for a terminal, in colour where there is one."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.types import Interval
from leaderboard import _text
from leaderboard.attacks import Selftest, at_headline, lines
from leaderboard.markdown import REFERENCE, REFERENCES, attack_figures, shipped
from leaderboard.rows import Board, Row

_BAR = 20
_ROWS = 50


def shown(
    found: Sequence[Board],
    *,
    width: int | None = None,
    colour: bool | None = None,
    rows: int = _ROWS,
    claims: bool = False,
) -> str:
    """Boards as text, as wide as the terminal; colours only if standard output is one.

    rows: the most of a board that are printed; claims: with what authors claim beside what was measured.
    """
    width = width or _width()
    return _printed([_board(board, width, rows, claims) for board in found], width, colour)


def shown_attacks(
    found: Sequence[Board],
    selftests: Mapping[str, Selftest],
    *,
    width: int | None = None,
    colour: bool | None = None,
) -> str:
    """The attacks on each board's systems in the headline's ball, as text."""
    return _printed([_attacks(board, selftests) for board in found], width or _width(), colour)


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 140


def _printed(groups: Sequence[Group], width: int, colour: bool | None) -> str:
    if not groups:
        return "No systems yet: `harness run quick` evaluates the first ones."
    out = io.StringIO()
    terminal = sys.stdout.isatty() if colour is None else colour
    console = Console(file=out, width=width, force_terminal=terminal, highlight=False, emoji=False, markup=False)
    for group in groups:
        console.print(group)
    return out.getvalue().rstrip("\n")


def _attacks(board: Board, selftests: Mapping[str, Selftest]) -> Group:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("attack", overflow="fold", min_width=16)
    grid.add_column("knows", no_wrap=True)
    for title in ("success %", "broken", "missed %", "wins", "distance", "forwards", "backwards", "time", "known %"):
        grid.add_column(title.replace(" ", "\n"), justify="right", no_wrap=True)
    for line in lines(board, selftests):
        if at_headline(board, line):
            grid.add_row(line.attack, line.threat.knowledge, *attack_figures(line))
    ball = _text.ball(board.headline.norm, board.headline.epsilon)
    heading = Text(f"Attacks on {board.dataset} · {board.victim} in {ball}", style="bold")
    return Group(heading, Text(board.provenance, style="dim"), grid)


def _board(whole: Board, width: int, most: int, claims: bool) -> Group:
    board = replace(whole, rows=whole.rows[:most])
    left = len(whole.rows) - len(board.rows)
    heading = [Text(board.title, style="bold"), Text(board.provenance, style="dim")]
    notes = [Text(f"Note: {note}", style="yellow") for note in board.notes]
    columns = list(_columns(board, width, claims))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        least = min(column.least, max((len(column.text(row)) for row in board.rows), default=0))
        justify: Literal["left", "right"] = "left" if column.least else "right"
        wraps = column.title in ("defense", "flags")
        grid.add_column(column.title, justify=justify, min_width=least or None, no_wrap=not wraps, overflow="fold")
    for row in board.rows:
        grid.add_row(*(column.text(row) for column in columns))
    rest = f"and {left:,} more: --top {len(whole.rows)} prints them, --csv and --json hold all"
    below = [*([rest] if left else []), *([REFERENCES] if shipped(board) else [])]
    return Group(*heading, *notes, grid, *(Text(line, style="dim") for line in below), *_found(board))


def _found(board: Board) -> Iterator[Text]:
    """The flags that fired, with what they found, a line for each."""
    for row in board.rows:
        for flag in row.fired:
            sign, style = ("⚑", "yellow") if flag.warning else ("○", "dim")
            yield Text(f"{sign} {row.name}: {flag.name}: {flag.text}", style=style)


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], Text]
    least: int = 0


def _columns(board: Board, width: int, claims: bool) -> Iterator[_Column]:
    """What fits: more columns from 76 characters on, then from 110, then from 180."""
    yield _Column("rank", lambda row: Text(row.place))
    yield _Column("defense", _name, least=12 if width < 76 else 20 if width < 110 else 40)
    yield _Column("robust %", lambda row: Text(_text.percent(row.metric("robust_accuracy")), style="bold"))
    yield _Column("95 %", lambda row: Text(_text.percent_range(row.metric("robust_accuracy")), style="dim"))
    if claims:
        yield _Column("claimed %", _claimed)
    if width >= 110:
        yield _Column("0" + "100 %".rjust(_BAR - 1), _bar, least=_BAR)
    if width >= 76:
        yield _Column("clean %", lambda row: Text(_text.percent(row.metric("clean_accuracy"))))
    if width >= 180:
        for threat in board.beside:
            title = _text.threat(threat).replace(", ", " %\n")
            yield _Column(title, lambda row, threat=threat: Text(_text.percent(row.threats.get(threat))))  # type: ignore[misc]
        if any(row.metric("auroc") for row in board.rows):
            yield _Column("AUROC", lambda row: Text(_text.area(row.metric("auroc")).split(" ")[0]))
        for metric, title, _ in board.rejecting:
            yield _Column(f"{title} %".lower(), lambda row, metric=metric: Text(_text.percent(row.metric(metric))))  # type: ignore[misc]
    if width >= 110:
        yield _Column("time", lambda row: Text(_text.duration(row.cost("seconds"))))
    yield _Column("flags", _flags, least=12 if width < 76 else 17)


def _name(row: Row) -> Text:
    return Text(row.name + REFERENCE * (row.origin == "reference"))


def _claimed(row: Row) -> Text:
    """The claimed robust accuracy, marked where it lies outside the measured interval."""
    claim = row.claims.get("robust_accuracy")
    return Text(f"{_text.share(claim)}{' ≠' if row.contradicted else ''}", style="yellow" if row.contradicted else "")


def _bar(row: Row) -> Text:
    """The interval as a line, the value on it as a point, clean accuracy as a ring."""
    line = ["·"] * _BAR
    robust, clean = row.metric("robust_accuracy"), row.metric("clean_accuracy")
    if robust is not None:
        first, last = (_place(end) for end in _ends(robust))
        line[first : last + 1] = ["━"] * (last - first + 1)
    if clean is not None:
        line[_place(clean.value)] = "○"
    if robust is not None:
        line[_place(robust.value)] = "●"
    text = Text("".join(line), style="cyan")
    text.highlight_regex("·", "dim")
    return text


def _ends(value: Interval) -> tuple[float, float]:
    bounded = value.low == value.low and value.high == value.high
    return (value.low, value.high) if bounded else (value.value, value.value)


def _place(value: float) -> int:
    return min(_BAR - 1, max(0, int(value * _BAR)))


def _flags(row: Row) -> Text:
    text = Text()
    for flag in row.fired:
        separator = ", " if text else ""
        text.append(
            f"{separator}⚑ {flag.name}" if flag.warning else f"{separator}{flag.name}",
            "yellow" if flag.warning else "dim",
        )
    if row.failed:
        text.append(f"{', ' if text else ''}✗ {len(row.failed)} failed", "red")
    return text
