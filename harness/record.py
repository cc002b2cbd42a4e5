"""The record of a system: everything that board and MLflow show of it, as JSON, from a plan and the store."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from harness import registry, validity
from harness.contributions import contributions
from harness.data import test_size
from harness.digests import digest
from harness.environment import environment
from harness.evidence import Evidence, cell_name
from harness.foreign import shifts
from harness.gallery import inputs
from harness.grid import Grid, System, role
from harness.measure import measured
from harness.metrics._roc import curves
from harness.plan import Plan, Task, foreign
from harness.rank import counted, robustness
from harness.records import code
from harness.risks import decomposition
from harness.spec import build, label, resolve
from harness.store import Store
from harness.submission import card_of
from harness.types import Interval, Knowledge, Norm, Spec, Threat

SCHEMA = 1


def build_record(
    plan: Plan,
    system: System,
    found: Evidence,
    *,
    store: Store,
    failures: Mapping[str, str],
    pictures: Path | None = None,
) -> dict[str, Any]:
    """The record of one system; figures that cannot be had are null, failed tasks are listed.

    pictures: a folder for the pictures of every input.
    """
    grid, outcomes = plan.grid, found.outcomes
    complete = not found.missing and len(outcomes) > 0
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "code": code(),
        "id": system_id(plan, system),
        "suite": grid.suite,
        "grid": grid.name,
        "size": grid.size,
        "seed": grid.seed,
        "inputs": min(grid.inputs, test_size(system.dataset)),
        "note": grid.note,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **_axes(plan, system),
        "headline": asdict(grid.headline),
        "measures": measured(plan, store, system, failures),
        "complete": complete,
        "status": "complete" if complete else "failed",
        "failed": [{"task": t.label, "error": _why(t, store, failures)} for t in found.missing],
        "environment": environment(),
        "command": _command(grid),
    }
    if not complete:
        return record | {
            "metrics": {},
            "threats": [],
            "flags": [],
            "cells": [],
            "checks": [],
            "shifts": [],
            "risks": [],
            "training": [],
            "per_input": {},
            "gallery": [],
        }
    shown = inputs(found.outcomes, found.tasks, grid.headline, lambda key: found.read(plan.tasks[key]), folder=pictures)
    whole = record | _figures(plan, found, store) | shown
    loops = any(flag["name"] == "loops-at-inference" and flag["fired"] for flag in whole["flags"])
    return whole | ({"track": "optimising at inference"} if loops else {})


def _command(grid: Grid) -> str:
    """The command that repeats the run."""
    changes = "".join(f" --set {shlex.quote(change)}" for change in grid.changes)
    return f"harness run {grid.name} --size {grid.size}{changes}"


def system_id(plan: Plan, system: System) -> str:
    """Names a system under a grid's threats and size: 16 hexadecimal digits."""
    grid = plan.grid
    inputs = [sorted(task.key for task in plan.observed[system]), asdict(grid.headline), grid.suite, grid.size]
    return digest(inputs)[:16]


def _axes(plan: Plan, system: System) -> dict[str, Any]:
    roles = [role(spec) for spec in system.defenses]
    random = any(registry.constants(registry.locate(s.kind, s.name)).get("random") for s in system.defenses)
    return {
        "dataset": label(system.dataset),
        "dataset_note": str(getattr(build(system.dataset), "note", "")),
        "victim": label(system.victim),
        "defense": system.defense,
        "roles": roles,
        **submitted(plan.grid, system),
        "track": "random" if random else "detector" if "detector" in roles else "plain",
        "parts": [
            {"name": label(s), "parameters": {k: _text(v) for k, v in resolve(s).params}} for s in system.defenses
        ],
    }


def submitted(grid: Grid, system: System) -> dict[str, Any]:
    """What the author of a part in a file says of it, and where its code ran; nothing for installed parts."""
    files = [registry.locate(s.kind, s.name).path for s in system.defenses if foreign(s)]
    if not files:
        return {}
    cards = [card_of(file.parent).shown for file in files]
    where = grid.isolation.mode if grid.isolation else "none"
    return {"submission": {**next((card for card in cards if card), {}), "isolation": where}}


def _text(value: Any) -> Any:
    return (
        label(value)
        if isinstance(value, Spec)
        else [_text(v) for v in value]
        if isinstance(value, tuple)
        else (value if isinstance(value, str | int | float | bool) or value is None else str(value))
    )


def _why(task: Task, store: Store, failures: Mapping[str, str]) -> str:
    for key in (task.key, *task.inputs):
        if key in failures:
            return failures[key]
    failure = store.failure(task.key)
    return str(failure["error"]) if failure else "not computed"


def _figures(plan: Plan, found: Evidence, store: Store) -> dict[str, Any]:
    grid, outcomes = plan.grid, found.outcomes
    return {
        "metrics": metrics(outcomes, grid.headline),
        "threats": [
            {**asdict(threat), "robust_accuracy": asdict(robustness(outcomes, threat).interval)}
            for threat in threats(plan)
            if bool(counted(outcomes, threat).any())
        ],
        "flags": validity.flags(outcomes, found.probe, grid.headline),
        "cells": cells(found, store),
        "checks": cells(found, store, checks=True),
        "shifts": shifts(outcomes),
        "roc": curves(outcomes, grid.headline),
        "training": trainings(found, store),
        "risks": [found for found in (decomposition(outcomes, threat) for threat in threats(plan)) if found],
        **costs(found, store),
    }


def threats(plan: Plan) -> list[Threat]:
    """Every threat of the grid, once."""
    found = (
        Threat(line.norm, epsilon, knowledge)
        for line in plan.grid.threats
        for knowledge in line.knowledge
        for epsilon in line.epsilons
    )
    return list(dict.fromkeys(found))


def metrics(outcomes: pd.DataFrame, headline: Threat) -> dict[str, dict[str, float]]:
    """Every registered metric that says something about the system."""
    found: dict[str, dict[str, float]] = {}
    for name in registry.names("metric"):
        interval: Interval | None = registry.load("metric", name)()(outcomes, headline)
        if interval is not None and not math.isnan(interval.value):
            found[name] = asdict(interval)
    return found


def cells(found: Evidence, store: Store, *, checks: bool = False) -> list[dict[str, Any]]:
    """A row for each attack, norm, epsilon and knowledge, with what it broke and what it cost.

    checks: those that only flags asked for, under the name of the flag; else those of the grid.
    """
    rows: list[dict[str, Any]] = []
    attempts: dict[tuple[str, Norm, Knowledge, str, bool], list[Task]] = {}
    for task in found.tasks:
        if task.attempt is not None and (task.check is not None) == checks:
            flag, moved = (task.check.flag, task.check.moved) if task.check else ("", False)
            axes = (label(task.attempt.attack), task.attempt.norm, task.attempt.knowledge, flag, moved)
            attempts.setdefault(axes, []).append(task)
    table = found.outcomes
    beside = {} if checks else contributions(table)
    for (attack, norm, knowledge, flag, moved), tasks in attempts.items():
        same = (table["attack"] == attack) & (table["norm"] == norm) & (table["knowledge"] == knowledge)
        group = table[same & (table["check"] == flag) & (table["cell"] == cell_name(tasks[0]))]
        group = group.assign(cell="attack") if moved else group
        cost = _cost([str(task.craft) for task in tasks], store) | _told(tasks, store)
        for epsilon in sorted(group["epsilon"].unique().tolist()):
            threat = Threat(norm, epsilon, knowledge)
            cell = _cell(table, group[group["epsilon"] == epsilon], threat, attack)
            named = {"flag": flag, "moved": moved} if checks else beside.get((attack, threat), {})
            rows.append(cell | cost | named | {"keys": [task.key for task in tasks]})
    return rows


def _told(tasks: Sequence[Task], store: Store) -> dict[str, Any]:
    """What a pilot found and which of an attack's parts broke how many inputs, for attacks that have them."""
    told: dict[str, Any] = {}
    crafts = [record for record in (store.record(str(task.craft)) for task in tasks) if record]
    for key in dict.fromkeys(key for record in crafts for key in record["consumed"]):
        above = store.record(key)
        if above is not None and above["kind"] == "pilot":
            told["pilot"] = {**above["facts"]["found"], "seconds": above["facts"]["seconds"]}
    parts: dict[str, int] = {}
    for record in crafts:
        for name, number in record["facts"].get("parts", {}).items():
            parts[name] = parts.get(name, 0) + number
    return told | ({"parts": parts} if parts else {})


def _cell(outcomes: pd.DataFrame, cell: pd.DataFrame, threat: Threat, attack: str) -> dict[str, Any]:
    robust = robustness(pd.concat([outcomes[outcomes["cell"] == "clean"], cell]), threat)
    broken = (robust.breaker != "") & (robust.clean > 0.5)
    fooled = cell[(cell["prediction"] != cell["label"]) & cell["accepted"] & cell["valid"] & (cell["distance"] > 0)]
    return {
        "attack": attack,
        "attacked": int(cell.loc[cell["attacked"], "index"].nunique()),
        **asdict(threat),
        "robust_accuracy": asdict(robust.interval),
        "broken": int(broken.sum()),
        "median_distance": float(fooled["distance"].median()) if len(fooled) else None,
    }


def _cost(keys: Sequence[str], store: Store) -> dict[str, float]:
    facts = [record["facts"] for record in (store.record(key) for key in keys) if record]
    inputs = max(1, sum(fact.get("inputs", 0) for fact in facts))
    return {
        "seconds": round(sum(fact["seconds"] for fact in facts), 3),
        "forwards": sum(fact.get("forwards", 0) for fact in facts) / inputs,
        "backwards": sum(fact.get("backwards", 0) for fact in facts) / inputs,
    }


def costs(found: Evidence, store: Store) -> dict[str, Any]:
    """Seconds of all tasks behind a system (shared ones included), passes per input."""
    keys = {key for task in found.tasks for key in (task.key, *task.inputs)}
    total = _cost(sorted(keys), store)
    return total | {"parameters": sum(int(fit["facts"].get("parameters", 0)) for fit in _fits(found, store))}


def trainings(found: Evidence, store: Store) -> list[dict[str, Any]]:
    """The loss curve of every fit behind a system that reported one: label, steps and losses."""
    curves = [(fit["label"], fit["facts"]["training"]) for fit in _fits(found, store) if "training" in fit["facts"]]
    return [{"label": label, **curve} for label, curve in sorted(curves, key=lambda each: each[0])]


def _fits(found: Evidence, store: Store) -> list[dict[str, Any]]:
    keys = {key for task in found.tasks for key in (task.key, *task.inputs)}
    return [record for record in (store.record(key) for key in sorted(keys)) if record and record["kind"] == "fit"]
