"""Records of systems from a folder: one JSON file each, written by the harness."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.tracked import newest
from leaderboard._objections import objection


@dataclass(frozen=True)
class Collected:
    """The newest record of each system, all that could be read, and a sentence for each file that could not."""

    records: list[dict[str, Any]]
    skipped: list[str]
    every: list[dict[str, Any]] = field(default_factory=list)


def collect(folder: Path) -> Collected:
    """The newest record of each system in a folder; raises FileNotFoundError where the folder is missing."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no folder; expected the records of a run: `harness run quick` writes them"
        )
    records: list[dict[str, Any]] = []
    skipped: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(_read(path))
        except (OSError, ValueError, RecursionError) as error:
            skipped.append(f"{path.name} skipped: {error}")
    return Collected([dict(record) for record in newest(records)], skipped, records)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"an object was expected, found {type(record).__name__}")
    reason = objection(record)
    if reason:
        raise ValueError(reason)
    return {"created": "", **record}
