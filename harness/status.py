"""What of a grid is done, pending or failed, and how long the rest may take."""

from __future__ import annotations

from statistics import median
from typing import Any

from harness.plan import Plan
from harness.standing import Standing
from harness.store import Store


def status(plan: Plan, store: Store) -> dict[str, Any]:
    """Counts, failures with their reasons, and an estimate from the medians of finished tasks of the same kind."""
    records = store.records(plan.tasks)
    standing = Standing(store, plan.tasks, records)
    seconds: dict[str, list[float]] = {}
    pending, failed = [], []
    for task in plan.tasks.values():
        if standing.done(task.key):
            seconds.setdefault(task.kind, []).append(records[task.key]["facts"]["seconds"])
            continue
        pending.append(task)
        failure = store.failure(task.key)
        if failure:
            failed.append({"task": task.label, "error": failure["error"]})
    unknown = sorted({task.kind for task in pending} - seconds.keys())
    left = sum(median(seconds[task.kind]) for task in pending if task.kind in seconds)
    total = len(plan.tasks)
    return {
        "total": total,
        "done": total - len(pending),
        "pending": len(pending),
        "failed": failed,
        "seconds_left": None if unknown else left,
        "seconds_left_at_least": left,
        "kinds_without_estimate": unknown,
        "skips": plan.skips,
    }
