"""Records of systems from a folder: one JSON file each, written by the harness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.tracked import newest
from leaderboard._values import number

SCHEMA = 1
_NAMES = ("suite", "dataset", "victim", "defense")


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


def objection(record: Mapping[str, Any]) -> str:
    """Why a record cannot be ranked and shown; empty where it can."""
    if record.get("schema") != SCHEMA:
        return f"schema {record.get('schema')!r} found, {SCHEMA} expected; run the grid again to write it anew"
    for name in _NAMES:
        if not isinstance(record.get(name), str) or not record[name]:
            return f"`{name}` must be a text, found {record.get(name)!r}"
    for name in ("size", "seed"):
        if not isinstance(record.get(name), str | int | None):
            return f"`{name}` must be a text or a number, found {record[name]!r}"
    return _headline_objection(record.get("headline")) or _inputs_objection(record.get("per_input"))


def _headline_objection(headline: Any) -> str:
    if not isinstance(headline, Mapping):
        return f"`headline` must be an object with norm, epsilon and knowledge, found {headline!r}"
    if not all(isinstance(headline.get(name), str) for name in ("norm", "knowledge")):
        return f"`headline` must name norm and knowledge, found {dict(headline)!r}"
    if number(headline.get("epsilon")) is None:
        return f"`headline.epsilon` must be a number, found {headline.get('epsilon')!r}"
    return ""


def _inputs_objection(per_input: Any) -> str:
    if per_input is None:
        return ""
    if not isinstance(per_input, Mapping):
        return f"`per_input` must be an object of columns, found {type(per_input).__name__}"
    index, robust = per_input.get("index", []), per_input.get("robust", [])
    if not isinstance(index, list) or not isinstance(robust, list) or len(index) != len(robust):
        return "`per_input.index` and `per_input.robust` must be lists of one length"
    if not all(isinstance(value, int) for value in index) or any(number(value) is None for value in robust):
        return "`per_input` must hold whole numbers in `index` and numbers in `robust`"
    return ""
