"""All studies of Liu Z. et al. 2024 at official size, hours on a core: `python -m leaderboard.papers._liu_z_official HOME`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from leaderboard.papers import liu_z


def main(home: str, device: str = "cpu") -> Path:
    """Run what the store of the run folder lacks; the file of the report in it."""
    api = importlib.import_module("harness.api")
    results = [api.study(spec, home=Path(home), device=device) for spec in liu_z.studies(official=True)]
    folder = Path(home) / "board" / "papers"
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "liu_z_official.md", liu_z.report(results)
    pictures = (f"\n![{title}]({picture.name})\n" for title, picture in liu_z.draw(folder, results))
    path.write_text(text + "".join(pictures), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
