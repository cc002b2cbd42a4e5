"""Cells -> tasks: shared tasks stand once, each after what it consumes, and nothing depends on results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from harness import registry
from harness.crafting import attacked, beside, crafted, name_of, probed, replays, staged
from harness.data import fingerprint, key_of, test_size
from harness.grid import Cell, Grid, System, role
from harness.plan import Fitted, Pipeline, Plan, Step, Task, fitted, states, states_of
from harness.spec import identity, label, with_victim
from harness.types import Skip, Spec


def tasks(grid: Grid, cells: Iterable[Cell | Skip]) -> Plan:
    """The tasks of all cells."""
    plan = Plan(grid)
    for cell in sorted(cells, key=lambda cell: (_checks(cell), replays(cell))):
        if isinstance(cell, Skip):
            plan.skips[cell.reason] = plan.skips.get(cell.reason, 0) + 1
            continue
        if cell.system not in plan.pipelines:
            plan.pipelines[cell.system] = _pipeline(plan, cell.system)
            plan.probes[cell.system] = probed(plan, plan.pipelines[cell.system], name_of(cell.system))
            plan.measured[cell.system] = {spec: _measure(plan, cell.system, spec) for spec in grid.measures}
        found = plan.observed.setdefault(cell.system, [])
        found.extend(_observe(plan, cell))
    return plan


def _checks(cell: Cell | Skip) -> bool:
    """Whether a cell is for a flag, and so comes after what it looks back on."""
    return isinstance(cell, Cell) and cell.check is not None


def _pipeline(plan: Plan, system: System) -> Pipeline:
    """A system's parts, fitted in order, and its calibration."""
    victim = fitted(plan, system.victim, system.dataset)
    parts: list[Fitted] = []
    for spec in system.defenses:
        own = with_victim(spec, system.victim)
        parts.append(fitted(plan, own, system.dataset, context=(victim, *parts)))
    key = plan.digest([key_of(system.dataset), victim.key, *(part.key for part in parts)])
    bare = Pipeline(system.dataset, victim, tuple(parts), key)
    if not any(role(part.spec) == "detector" for part in parts):
        return bare
    rates = tuple(dict.fromkeys((plan.grid.rate, 0.01, 0.05)))
    calibration = plan.key("calibrate", system=key, rates=list(rates), seed=plan.grid.seed)
    label_ = f"calibrate {system.defense} on {label(system.dataset)}, {label(system.victim)}"
    options = (("rates", rates),)
    plan.add(Task("calibrate", calibration, label_, system.dataset, states(bare), bare, options=options))
    return Pipeline(system.dataset, victim, tuple(parts), key, calibration)


def _measure(plan: Plan, system: System, spec: Spec) -> Task | Skip:
    """The measure of a system's network, one task for all systems that share it; a Skip where its data are not to be had."""
    pipeline = plan.pipelines[system]
    trained = () if pipeline.classifier is pipeline.victim else pipeline.parts[:1]
    above = [part.key for part in (pipeline.victim, *trained)]
    network = Pipeline(system.dataset, pipeline.victim, trained, plan.digest([key_of(system.dataset), *above]))
    try:
        part = fitted(plan, spec, system.dataset)
    except FileNotFoundError as error:
        reason = f"{label(spec)} is not measured: {error}"
        plan.skips[reason] = plan.skips.get(reason, 0) + 1
        return Skip(reason)
    consumed = [child.key for child in part.children()]
    key = plan.key("measure", spec=identity(spec), above=consumed, network=network.key, seed=plan.grid.seed)
    needed = tuple(dict.fromkeys((*states(network), *(f.key for f in states_of(part)))))
    whom = label(network.classifier.spec) + (f" of {label(system.victim)}" if trained else "")
    text = f"measure {label(spec)} of {whom} on {label(system.dataset)}"
    return plan.add(Task("measure", key, text, system.dataset, needed, network, part))


def _observe(plan: Plan, cell: Cell) -> Iterator[Task]:
    """The tasks that observe a cell, with the craft tasks that they need."""
    grid = plan.grid
    if cell.attempt is None:
        if cell.shift is not None:
            yield _observation(plan, cell, rows=(0, grid.inputs), what=_shift_content(cell.shift))
            return
        for rows, scoring in _clean(grid, cell.system):
            yield _observation(plan, cell, rows=rows, what={"clean": True}, scoring=scoring)
        return
    attack = fitted(plan, with_victim(cell.attempt.attack, cell.system.victim), cell.system.dataset)
    stage = staged(plan, cell, attack)
    first, stop = attacked(grid, cell)
    for rows in shards(first, stop, grid.shard if cell.check is None else stop - first):
        craft = crafted(plan, cell, stage, rows)
        observation = _observation(plan, cell, rows=rows, what={"craft": craft.key}, craft=craft)
        if cell.check is None:
            plan.steps.setdefault(cell.system, []).append(Step(cell.attempt, rows, observation.key, craft.key))
        yield observation


def _clean(grid: Grid, system: System) -> Iterator[tuple[tuple[int, int], int]]:
    """Ranges of clean inputs with their scoring draws: of inputs that no attack sees, a random system gets ten at most."""
    stop, seen = grid.clean_inputs or -1, grid.first + grid.inputs
    random = any(registry.constants(registry.locate("defense", spec.name)).get("random") for spec in system.defenses)
    if not random or 0 < stop <= seen or test_size(system.dataset) <= seen:
        yield (0, stop), grid.scoring
        return
    yield (0, seen), grid.scoring
    yield (seen, stop), min(grid.scoring, 10)


def _shift_content(shift: Spec) -> Any:
    return fingerprint(shift) if shift.kind == "dataset" else identity(shift)


def _observation(
    plan: Plan,
    cell: Cell,
    *,
    rows: tuple[int, int],
    what: dict[str, Any],
    craft: Task | None = None,
    scoring: int | None = None,
) -> Task:
    grid, pipeline = plan.grid, plan.pipelines[cell.system]
    drawn = (("selection", grid.selection), ("scoring", scoring or grid.scoring), ("rate", grid.rate))
    options = (*drawn, *beside(plan, cell))
    content = {**what, "system": pipeline.key, "calibration": pipeline.calibration, "rows": rows, "options": options}
    key = plan.key("observe", **content, seed=grid.seed)
    inputs = states(pipeline) + ((craft.key,) if craft else ())
    name = label(cell.attempt.attack) if cell.attempt else label(cell.shift) if cell.shift else "clean"
    text = f"observe {name_of(cell.system)} under {name} [{rows[0]}:{rows[1] if rows[1] > 0 else ''}]"
    return plan.add(
        Task(
            "observe",
            key,
            text,
            cell.system.dataset,
            inputs,
            pipeline,
            attempt=cell.attempt,
            shift=cell.shift,
            craft=craft.key if craft else None,
            rows=rows,
            check=cell.check,
            options=options,
        )
    )


def shards(first: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Ranges of at most `size` inputs."""
    return [(start, min(start + size, stop)) for start in range(first, stop, size)]
