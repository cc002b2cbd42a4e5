"""From Python: run a grid, score a defense, run a study. Everything heavy is imported where it is needed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.progress import say

if TYPE_CHECKING:
    from harness.execute import Progress
    from harness.grid import Grid, System
    from harness.plan import Plan, Task
    from harness.store import Store
    from harness.types import Spec


def home_folder(home: str | Path | None = None) -> Path:
    """The run folder: the one given, else HARNESS_HOME, else ./runs; kept in HARNESS_HOME for the data cache."""
    path = Path(home or os.environ.get("HARNESS_HOME") or "runs").expanduser().resolve()
    os.environ["HARNESS_HOME"] = str(path)
    return path


@dataclass
class Result:
    """What a run came to: the records of its systems and what became of the tasks."""

    grid: Grid
    records: list[dict[str, Any]]
    progress: Progress
    links: dict[str, str] = field(default_factory=dict)
    tracking_error: str | None = None
    skips: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """One JSON-able object: grid, tasks, seconds, systems with their cells."""
        progress = self.progress
        counts = {
            "total": progress.total,
            "reused": progress.reused,
            "computed": progress.computed,
            "failed": len(progress.failed),
        }
        return {
            "grid": self.grid.name,
            "tasks": counts,
            "seconds": round(progress.seconds, 3),
            "overhead_per_task": round(progress.overhead / max(1, progress.computed), 5),
            "skips": self.skips,
            "systems": [_system(record) for record in self.records],
            "tracking": self.tracking_error or "written",
        }


def _system(record: Mapping[str, Any]) -> dict[str, Any]:
    robust = record["metrics"].get("robust_accuracy") or {}
    clean = record["metrics"].get("clean_accuracy") or {}
    names = ("attack", "norm", "epsilon", "knowledge")
    return {
        "dataset": record["dataset"],
        "victim": record["victim"],
        "defense": record["defense"],
        "status": record["status"],
        "clean_accuracy": clean.get("value"),
        "robust_accuracy": robust.get("value"),
        "robust_low": robust.get("low"),
        "robust_high": robust.get("high"),
        "flags": [flag["name"] for flag in record["flags"] if flag["fired"]],
        "cells": [
            {name: cell[name] for name in names}
            | {"robust_accuracy": cell["robust_accuracy"]["value"], "seconds": cell["seconds"]}
            for cell in record["cells"]
        ],
    }


def read_grid(
    grid: str | Mapping[str, Any] | Grid, *, size: str | None = None, changes: Mapping[str, Any] | None = None
) -> Grid:
    """A Grid from a shipped name, a YAML file or plain data."""
    from harness import reading

    if isinstance(grid, str):
        return reading.read(grid, size=size, changes=changes)
    if isinstance(grid, Mapping):
        return reading.from_mapping({"name": "grid", **grid}, size=size, changes=changes)
    return grid


def plan_of(grid: Grid) -> Plan:
    """The tasks of a grid and of the cells that its flags need."""
    from harness import grid as grids
    from harness import schedule, validity

    cells = list(grids.cells(grid))
    systems = dict.fromkeys(cell.system for cell in cells if isinstance(cell, grids.Cell))
    extra = [cell for system in systems for cell in validity.cells(grid, system)]
    return schedule.tasks(grid, [*cells, *extra])


def run(
    grid: str | Mapping[str, Any] | Grid,
    *,
    home: str | Path | None = None,
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str = "cpu",
    executor: str = "serial",
    track: bool = True,
    store: str | None = None,
) -> Result:
    """Run a grid: what the store holds is reused, the rest computed, recorded and ranked.

    store: a folder or a URL (see `harness.store.store_of`). Raises ValueError or FileNotFoundError for a grid that cannot be
    read; failed tasks are in the result.
    """
    from harness import execute
    from harness.data import on_device
    from harness.found import with_found
    from harness.store import store_of

    folder = home_folder(home)
    held = store_of(folder, store)
    on_device(device)
    read = with_found(read_grid(grid, size=size, changes=changes), folder)
    plan = plan_of(read)
    writer = Writer(folder) if track else None
    recorder = _Recorder(plan, held, folder / "records", device, writer)
    tasks = list(plan.tasks.values())
    try:
        progress = execute.run(
            tasks, held, device=device, executor=executor, finished=recorder.finished, title=read.name
        )
    except BaseException:
        if writer is not None:
            writer.stop()
        raise
    board(folder)
    answer = writer.close() if writer is not None else {}
    return Result(read, recorder.records, progress, answer.get("links", {}), answer.get("error"), plan.skips)


@dataclass
class _Recorder:
    """Writes the record of a system as soon as its last task is done; one that stands already is taken as it is."""

    plan: Plan
    store: Store
    folder: Path
    device: str
    writer: Writer | None
    records: list[dict[str, Any]] = field(default_factory=list)
    waiting: dict[System, set[str]] = field(default_factory=dict)
    systems: dict[str, list[System]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from harness.types import Skip

        for system, tasks in self.plan.observed.items():
            measures = {task.key for task in self.plan.measured[system].values() if not isinstance(task, Skip)}
            self.waiting[system] = {task.key for task in tasks} | {self.plan.probes[system].key} | measures
            for key in self.waiting[system]:
                self.systems.setdefault(key, []).append(system)

    def finished(self, task: Task, progress: Progress) -> None:
        """A task is done, or has failed."""
        for system in self.systems.get(task.key, ()):
            self.waiting[system].discard(task.key)
            if not self.waiting[system]:
                self._write(system, progress)

    def _write(self, system: System, progress: Progress) -> None:
        from harness import record as recording
        from harness import records
        from harness.evidence import evidence
        from harness.measure import measured

        name = recording.system_id(self.plan, system)
        keys = {key for task in self.plan.observed[system] for key in (task.key, *task.inputs)}
        made = None if keys & progress.made else records.stands(self.folder, name)
        if made is not None and made.get("submission") != recording.submitted(self.plan.grid, system).get("submission"):
            made = None  # its author says other things of it now
        if made is not None and made.get("measures", {}) != measured(self.plan, self.store, system, progress.failed):
            made = None  # another grid asked for other measures of it, or none
        if made is None:
            found = evidence(self.plan, system, self.store, self._read)
            made = recording.build_record(
                self.plan,
                system,
                found,
                store=self.store,
                failures=progress.failed,
                pictures=self.folder / "pictures",
            )
            records.save(made, found.outcomes, self.folder)
        self.records.append(made)
        if self.writer is not None:
            self.writer.send(self.folder / f"{name}.json")

    def _read(self, task: Task) -> Any:
        """A stored result; one found corrupted is computed anew first."""
        from harness.execute import attempt
        from harness.loading import Loader
        from harness.store import Corrupted

        try:
            return self.store.get(task.key)
        except Corrupted as error:
            say(str(error))
            attempt(task, Loader(self.store, self.device), self.plan.tasks)
            return self.store.get(task.key)


class Writer:
    """The process that writes to MLflow beside the run; the run never waits for it before its end."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.track", str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def send(self, record: Path) -> None:
        """Hand over the path of a record."""
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(f"{record}\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # said at the end, by close()

    def close(self, timeout: float = 600) -> dict[str, Any]:
        """Wait for what is left to be written; returns the links, or the error."""
        try:
            out, _ = self.process.communicate(timeout=timeout)
            return (
                dict(json.loads(out.splitlines()[-1]))
                if out.strip()
                else {"error": "the writer to MLflow ended without an answer"}
            )
        except subprocess.TimeoutExpired:
            self.stop()
            return {"error": f"MLflow did not answer within {timeout:g} s"}

    def stop(self) -> None:
        """End the writer; `harness sync` writes what is missing."""
        self.process.kill()
        self.process.wait()


def board(home: Path) -> list[Path]:
    """Build the leaderboard's files from the records; reached by name, so that the harness does not import it."""
    try:
        build = importlib.import_module("leaderboard").build
    except (ImportError, AttributeError):
        return []
    from harness.records import records_of
    from harness.references import with_references

    return list(build(with_references(records_of(home)), home / "board"))


def sync(home: str | Path | None = None) -> dict[str, Any]:
    """Write to MLflow what the records hold and MLflow lacks, once."""
    folder = home_folder(home)
    board(folder)
    writer = Writer(folder)
    for path in sorted((folder / "records").glob("*.json")):
        writer.send(path)
    return writer.close()


def score(defense: str, **options: Any) -> dict[str, Any]:
    """Score a defense, `file.py:Class` or a name: its verdict with reason, rank and figures (see `harness.submit`)."""
    from harness.submit import submit

    return submit(defense, **options)[0]


def study(spec: Spec, *, home: str | Path | None = None, device: str = "cpu") -> dict[str, Any]:
    """The tables of a study, computed once and cached like everything else; raises RuntimeError if it fails."""
    from harness import execute, plan
    from harness.digests import digest
    from harness.grid import Grid
    from harness.spec import identity, label, resolve
    from harness.store import store_of
    from harness.types import Spec as SpecType
    from harness.types import Threat

    resolved = resolve(spec)
    named = [value for _, value in resolved.params if isinstance(value, SpecType) and value.kind == "dataset"]
    dataset = named[0] if named else SpecType.of("dataset", "digits")  # a study without data runs as one of digits
    nothing = Grid("study", "study", (), (), (), (), (), Threat("linf", 1.0, "adaptive"))
    made = plan.Plan(nothing)
    part = plan.fitted(made, resolved, dataset)
    key = digest(["study", plan.engine("study"), identity(resolved), [child.key for child in part.children()]])
    needed = tuple(made.tasks)
    made.add(plan.Task("study", key, label(resolved), dataset, needed, part=part))
    store = store_of(home_folder(home))
    progress = execute.run(list(made.tasks.values()), store, device=device, title=label(resolved))
    if progress.failed:
        raise RuntimeError(next(iter(progress.failed.values())))
    return dict(store.get(key))
