"""What of a grid is done, pending or failed, and how long the rest may take."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from harness.plan import Plan
from harness.store import Store


def status(plan: Plan, home: Path) -> dict[str, Any]:
    """Counts, failures with their reasons, and an estimate from the medians of finished tasks of the same kind."""
    store = Store(home / "store")
    seconds: dict[str, list[float]] = {}
    pending, failed = [], []
    for task in plan.tasks.values():
        if store.done(task.key):
            record = store.record(task.key) or {}
            seconds.setdefault(task.kind, []).append(record["facts"]["seconds"])
            continue
        pending.append(task)
        failure = store.failure(task.key)
        if failure:
            failed.append({"task": task.label, "error": failure["error"]})
    known = all(task.kind in seconds for task in pending)
    left = sum(median(seconds[task.kind]) for task in pending) if known else None
    total = len(plan.tasks)
    return {
        "total": total,
        "done": total - len(pending),
        "pending": len(pending),
        "failed": failed,
        "seconds_left": left,
        "skips": plan.skips,
    }
