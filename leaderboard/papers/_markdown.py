"""Tables of a paper's report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def printed(name: str) -> dict[str, Any]:
    """The printed figures of a paper, from the file beside it."""
    figures: dict[str, Any] = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    return figures


def records(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The given columns of rows; a dash where a row lacks one."""
    return table(columns, [[row.get(name) for name in columns] for row in rows])


def theirs(figures: Mapping[str, Any]) -> str:
    """A printed table, with its columns."""
    return table(figures["columns"], figures["rows"])


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and rows; numbers in at most four digits."""
    lines = [list(header), ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value: Any) -> str:
    """A value as text, missing ones as a dash."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
