"""What the records of a system said before: a line of JSON each time that it changed, in `records/history`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.tracked import identity

FOLDER = "history"
_SAME = (
    "id",
    "status",
    "inputs",
    "clean",
    "robust",
    "flags",
    "attacks",
    "outcomes",
)  # no line where these are as before
_AXES = ("suite", "size", "dataset", "victim", "defense", "seed", "headline")


def line(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the history keeps of a record."""
    environment, metrics = record.get("environment") or {}, record.get("metrics") or {}
    held = record.get("per_input") or {}
    outcomes = json.dumps([held.get(name) for name in ("index", "clean", "robust")])
    return {
        **{name: record.get(name) for name in ("created", "id", "code", *_AXES, "inputs", "status")},
        "commit": environment.get("commit"),
        "dirty": environment.get("dirty"),
        "clean": metrics.get("clean_accuracy"),
        "robust": metrics.get("robust_accuracy"),
        "flags": sorted(
            f["name"] for f in record.get("flags") or [] if f.get("fired") and f.get("severity") == "warning"
        ),
        "attacks": sorted({str(cell["attack"]) for cell in record.get("cells") or []}),
        "outcomes": hashlib.sha256(outcomes.encode()).hexdigest()[:16],
    }


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two lines say the same of a system, whenever and by whichever code."""
    return json.dumps([a.get(name) for name in _SAME]) == json.dumps([b.get(name) for name in _SAME])


def file_of(record: Mapping[str, Any]) -> str:
    """The name of a system's file."""
    return f"{hashlib.sha256(identity(record).encode()).hexdigest()[:16]}.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a system, the oldest first; what a crash left of a line is passed over."""
    found = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for part in text.splitlines():
        try:
            value = json.loads(part)
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def note(record: Mapping[str, Any], folder: Path) -> bool:
    """Add a record to its system's history unless it says what the last line says; True if it was added.

    folder: that of the records.
    """
    path = folder / FOLDER / file_of(record)
    new: dict[str, Any] = json.loads(json.dumps(line(record), default=float))
    known = read(path)
    if known and same(known[-1], new):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(new) + "\n")
    return True
