"""The board's files in a folder, each written by rename so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def build(records: Sequence[Mapping[str, Any]], out: Path, *, selftests: Path | None = None) -> list[Path]:
    """Write leaderboard.html, .md, .csv and .json to `out` and return their paths.

    selftests: the folder with the tests of attacks (default: `selftests` beside `out`).
    """
    from leaderboard.attacks import selftests as read
    from leaderboard.export import csv_text, json_text
    from leaderboard.html import page
    from leaderboard.markdown import markdown
    from leaderboard.rows import boards

    found = boards(records)
    out.mkdir(parents=True, exist_ok=True)
    tests = read(out.parent / "selftests" if selftests is None else selftests)
    texts = {"html": page(found, tests), "md": markdown(found, tests), "csv": csv_text(found), "json": json_text(found)}
    return [write(out / f"leaderboard.{ending}", text) for ending, text in texts.items()]


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The ranked boards of some records as text, for a terminal."""
    from leaderboard.rows import boards
    from leaderboard.terminal import shown

    return shown(boards(records))


def write(path: Path, text: str) -> Path:
    """Write a text in one step and return its path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
