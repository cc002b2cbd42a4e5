"""A paper's tables regenerated: its studies run, or read from the store, and reported beside the printed figures.

A module of `papers` has studies() and report(results); where it has draw(folder), its pictures are linked from the report.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from leaderboard.board import write


def papers() -> list[str]:
    """The papers that can be regenerated, by the names of their files."""
    folder = Path(__file__).parent / "papers"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def regenerate(name: str, home: Path, *, device: str = "cpu") -> tuple[str, Path]:
    """The report as Markdown and the file in the run folder that holds it; raises ValueError for an unknown name."""
    known = papers()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no paper {name!r}; {hint}known: {', '.join(known) or 'none'}")
    module = importlib.import_module(f"leaderboard.papers.{name}")
    api = importlib.import_module("harness.api")
    text: str = module.report([api.study(spec, home=home, device=device) for spec in module.studies()])
    folder = home / "board" / "papers"
    folder.mkdir(parents=True, exist_ok=True)
    draw = getattr(module, "draw", None)
    for title, path in draw(folder) if draw else ():
        text += f"\n![{title}]({path.name})\n"
    return text, write(folder / f"{name}.md", text)
