"""Records on disk: a JSON file a system, the outcomes behind it beside it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.digests import code_digest, digest, module_file
from harness.history import note

if TYPE_CHECKING:
    import pandas as pd


def records_of(home: Path) -> list[dict[str, Any]]:
    """All records of a run folder, unreadable ones left out."""
    found = []
    for path in sorted((home / "records").glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except json.JSONDecodeError:
            print(f"{path} is not valid JSON and was left out; run the grid again", file=sys.stderr)
    return found


@lru_cache(maxsize=1)
def code() -> str:
    """Digest of the code that makes records of outcomes: metrics and flags too."""
    files = [module_file(name) for name in ("harness.record", "harness.evidence", *_metric_modules())]
    return digest([code_digest(file) for file in files if file])


def _metric_modules() -> list[str]:
    sources = [registry.locate("metric", name) for name in registry.names("metric")]
    return [source.module for source in sources if source.module]


def stands(folder: Path, name: str) -> dict[str, Any] | None:
    """The complete record of that id, made by the present code; None if there is none."""
    try:
        record: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record if record.get("complete") and record.get("code") == code() else None


def outcomes_of(folder: Path, name: str) -> pd.DataFrame:
    """The outcomes behind a record, columns COLUMNS."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_parquet(folder / f"{name}.parquet")
    return frame


def save(record: Mapping[str, Any], outcomes: pd.DataFrame, folder: Path) -> Path:
    """Write a record and the outcomes behind it by rename, and what changed into its history; their name is the system's id."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['id']}.json"
    table = path.with_suffix(f".{os.getpid()}.parquet.tmp")
    outcomes.reset_index(drop=True).to_parquet(table, index=False)
    table.replace(path.with_suffix(".parquet"))
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(record, default=float), encoding="utf-8")
    temporary.replace(path)
    note(record, folder)
    return path
