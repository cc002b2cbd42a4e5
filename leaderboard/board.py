"""The board's files in a folder, each written by rename so that a reader never sees half of one."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard._values import mapping

_NAME = re.compile(r"[0-9A-Za-z]{1,64}")
_MOST_PIXELS = 4_096  # of a side of an input's picture, and pictures in a line
_MOST_BYTES = 32_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def build(
    records: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    selftests: Path | None = None,
    folder: Path | None = None,
) -> list[Path]:
    """Write leaderboard.html, .md, .csv and .json to `out` and return their paths; what the page loads lies in `out/systems`.

    selftests: the folder with the tests of attacks (default: `selftests` beside `out`); folder: that of the records, with
    their history and the pictures of every input (default: `records` beside `out`).
    """
    from leaderboard._papers import reports
    from leaderboard.attacks import selftests as read
    from leaderboard.export import csv_text, json_text
    from leaderboard.history import history
    from leaderboard.html import PAGE, site
    from leaderboard.markdown import markdown
    from leaderboard.rows import boards

    found = boards(records)
    tests = read(out.parent / "selftests" if selftests is None else selftests)
    folder = out.parent / "records" if folder is None else folder
    drawn, atlases = _pictures(records, folder / "pictures")
    texts = site(found, tests, pictures=drawn, pasts=history(folder), reports=reports(out / "papers"))
    systems = out / "systems"
    systems.mkdir(parents=True, exist_ok=True)
    for name, content in (texts | atlases).items():
        if name != PAGE:
            _renew(out / name, content)
    for path in systems.glob("*.js"):
        if f"{systems.name}/{path.name}" not in texts | atlases:
            path.unlink(missing_ok=True)
    if not any(systems.iterdir()):
        systems.rmdir()
    texts = {"html": texts[PAGE], "md": markdown(found, tests), "csv": csv_text(found), "json": json_text(found)}
    return [write(out / f"leaderboard.{ending}", text) for ending, text in texts.items()]


def _pictures(records: Sequence[Mapping[str, Any]], folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Where the page finds the pictures of a record's inputs, by its id, and the files with them; none that are missing."""
    places: dict[str, dict[str, Any]] = {}
    files: dict[str, str] = {}
    for record in records:
        told = mapping(record.get("pictures"))
        sizes = [told.get(name) for name in ("width", "height", "columns")]
        if not all(type(size) is int and 1 <= size <= _MOST_PIXELS for size in sizes):
            continue
        contents = {name: _png(folder, name) for name in (str(told.get(kind)) for kind in ("clean", "change"))}
        if None in contents.values():
            continue
        for name, content in contents.items():
            call = f"boardReceives({json.dumps(name)}, {json.dumps(f'data:image/png;base64,{content}')});\n"
            files.setdefault(f"systems/{name}.js", call)
        places[str(record.get("id") or "")] = {
            key: told[key] for key in ("width", "height", "columns", "clean", "change")
        }
    return places, files


def _png(folder: Path, name: str) -> str | None:
    """A picture of the folder in base64; None where there is no such file, or it is too large or no PNG."""
    path = folder / f"{name}.png"
    try:
        if not _NAME.fullmatch(name) or not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return base64.b64encode(content).decode() if content.startswith(_PNG) else None


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The ranked boards of some records as text, for a terminal."""
    from leaderboard.rows import boards
    from leaderboard.terminal import shown

    return shown(boards(records))


def _renew(path: Path, text: str) -> None:
    """Write a text unless it stands there already."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except OSError:
        pass
    write(path, text)


def write(path: Path, text: str) -> Path:
    """Write a text in one step and return its path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
