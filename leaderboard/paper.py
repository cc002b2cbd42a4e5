"""A paper's tables regenerated: its studies run, or read from the store, and reported beside the printed figures.

A module of `papers` with studies() and report(results) is one. It may have grids(), run by the harness like every other,
whose records report gets too, and draw(folder, results), whose pictures are linked from the report.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaderboard.board import write


def papers() -> list[str]:
    """The papers that can be regenerated, by the names of their files."""
    folder = Path(__file__).parent / "papers"
    files = (path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return sorted(path.stem for path in files if "\ndef studies(" in path.read_text(encoding="utf-8"))


def regenerate(name: str, home: Path, *, device: str = "cpu") -> tuple[str, Path]:
    """The report as Markdown and the file in the run folder that holds it; raises ValueError for an unknown name."""
    known = papers()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no paper {name!r}; {hint}known: {', '.join(known) or 'none'}")
    module = importlib.import_module(f"leaderboard.papers.{name}")
    api = importlib.import_module("harness.api")
    results = [api.study(spec, home=home, device=device) for spec in module.studies()]
    records = [_records(api, grid, home, device) for grid in getattr(module, "grids", list)()]
    text: str = module.report(results, *([records] if records else []))
    folder = home / "board" / "papers"
    folder.mkdir(parents=True, exist_ok=True)
    draw = getattr(module, "draw", None)
    for title, path in draw(folder, results) if draw else ():
        text += f"\n![{title}]({path.name})\n"
    return text, write(folder / f"{name}.md", text)


def _records(api: Any, grid: Mapping[str, Any], home: Path, device: str) -> list[dict[str, Any]]:
    """The records of a grid's systems; raises RuntimeError where a task failed."""
    done = api.run(grid, home=home, device=device, executor="processes")
    if done.progress.failed:
        raise RuntimeError(next(iter(done.progress.failed.values())))
    records: list[dict[str, Any]] = done.records
    return records
