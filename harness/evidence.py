"""What the store holds of a system, as one table of outcomes: a row an input, draw and cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness import registry, validity
from harness.grid import System
from harness.perform import OUTCOME
from harness.plan import Plan, Task
from harness.spec import build, label
from harness.store import Store
from harness.types import Spec

COLUMNS = (*OUTCOME, "cell", "attack", "check", "norm", "knowledge", "role")


@dataclass(frozen=True)
class Evidence:
    """What the store holds of a system: its outcomes (columns COLUMNS), its probe, the tasks behind each cell."""

    outcomes: pd.DataFrame
    probe: Mapping[str, Any] | None
    tasks: Sequence[Task]
    missing: Sequence[Task]
    read: Callable[[Task], Any]


def evidence(plan: Plan, system: System, store: Store, read: Callable[[Task], Any]) -> Evidence:
    """A system's outcomes as `read` gives them; tasks without a result are listed as missing."""
    frames, missing, tasks = [], [], plan.observed[system]
    for task in tasks:
        if store.record(task.key) is None:
            missing.append(task)
            continue
        frames.append(_annotated(task, read(task), plan.grid.selection))
    outcomes = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    pipeline = plan.pipelines[system]
    outcomes.attrs = {
        "defended": bool(system.defenses),
        "rejects": pipeline.calibration is not None,
        "rate": plan.grid.rate,
        "calibrated": _calibrated(store, pipeline.calibration),
        "surrogate": any(_declares_surrogate(spec) for spec in system.defenses),
        "classes": build(system.dataset).num_classes,
        "needs": {label(t.attempt.attack): validity.needs(t.attempt.attack) for t in tasks if t.attempt},
        "moves": {label(t.attempt.attack): _constant(t.attempt.attack, "moves") for t in tasks if t.attempt},
    }
    probe = plan.probes[system]
    probed = store.record(probe.key)
    missing = missing if probed else [probe, *missing]
    told = {**read(probe), "slowdown": probed["facts"].get("slowdown")} if probed else None
    return Evidence(outcomes, told, tasks, missing, read)


def _annotated(task: Task, frame: pd.DataFrame, selection: int) -> pd.DataFrame:
    attempt = task.attempt
    frame["cell"] = cell_name(task)
    frame["attack"] = label(attempt.attack) if attempt else ""
    frame["check"] = task.check.flag if task.check else ""
    frame["norm"] = attempt.norm if attempt else ""
    frame["knowledge"] = attempt.knowledge if attempt else ""
    frame["role"] = np.where(frame["draw"] < selection, "select", "score") if frame["draw"].max() > 0 else "score"
    return frame


def cell_name(task: Task) -> str:
    """What a row of outcomes is about; only "attack" counts in the worst case."""
    if task.shift is not None:
        return f"shift {label(task.shift)}"
    if task.attempt is None:
        return "clean"
    if task.check is not None and task.check.moved:
        return "moved"
    return "availability" if _constant(task.attempt.attack, "goal") == "rejection" else "attack"


def _constant(spec: Spec, name: str) -> Any:
    """A constant of a part's class, or None."""
    return registry.constants(registry.locate(spec.kind, spec.name)).get(name)


def _calibrated(store: Store, key: str | None) -> int:
    record = store.record(key) if key else None
    return int(record["facts"]["inputs"]) if record else 0


def _declares_surrogate(spec: Spec) -> bool:
    """Whether the part's file defines a surrogate."""
    source = registry.locate(spec.kind, spec.name)
    return "def surrogate" in source.path.read_text(encoding="utf-8")
