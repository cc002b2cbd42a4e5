"""The tasks of an attack on a system: what the attacker is told of it, and the inputs that are crafted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness import registry
from harness.data import key_of, test_size
from harness.digests import digest
from harness.grid import Attempt, Cell, Grid, System
from harness.plan import Fitted, Pipeline, Plan, Task, states, states_of
from harness.spec import identity, label
from harness.types import Skip


@dataclass(frozen=True)
class Stage:
    """What the craft tasks of a cell share: the attack, its target and how that is called, what the attack is told."""

    attack: Fitted
    target: Pipeline
    whom: str
    probe: Task
    stand_in: Task | None
    pilots: bool
    cascades: bool
    replays: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys of what every craft task of the cell consumes."""
        own = (f.key for child in self.attack.children() for f in states_of(child))
        told = (self.probe.key, *((self.stand_in.key,) if self.stand_in else ()))
        return tuple(dict.fromkeys((*states(self.target), *own, *told)))


def staged(plan: Plan, cell: Cell, attack: Fitted) -> Stage:
    """Against the oblivious view there is no defense in the target, so that one set of inputs serves every system."""
    attempt, pipeline = cell.attempt, plan.pipelines[cell.system]
    assert attempt is not None
    oblivious = attempt.knowledge == "oblivious"
    target = Pipeline(cell.system.dataset, pipeline.victim, (), pipeline.victim.key) if oblivious else pipeline
    whom = f"{label(cell.system.victim)} on {label(cell.system.dataset)}" if oblivious else name_of(cell.system)
    source = registry.locate("attack", attack.spec.name)
    constants = registry.constants(source)
    probe = probed(plan, target, whom)
    stand_in = _stand_in(plan, target, probe, whom) if "gradients" in constants.get("uses", ()) else None
    pilots = not oblivious and registry.has_method(source, "pilot")
    cascades = plan.grid.cascade and not oblivious and not constants.get("minimal") and cell.check is None
    return Stage(attack, target, whom, probe, stand_in, pilots, cascades, replays=replays(cell))


def probed(plan: Plan, pipeline: Pipeline, whom: str) -> Task:
    """The probe of a system, before any attack."""
    options = _headline(plan)
    key = plan.key("probe", system=pipeline.key, calibration=pipeline.calibration, options=options, seed=plan.grid.seed)
    return plan.add(Task("probe", key, f"probe {whom}", pipeline.dataset, states(pipeline), pipeline, options=options))


def _headline(plan: Plan) -> tuple[tuple[str, Any], ...]:
    headline = plan.grid.headline
    return (("epsilon", headline.epsilon), ("norm", headline.norm), ("rate", plan.grid.rate))


def _stand_in(plan: Plan, pipeline: Pipeline, probe: Task, whom: str) -> Task:
    """The fit of a stand-in for a system's gradient, which the probe may find to be of no use."""
    options = _headline(plan)
    key = plan.key("stand_in", probe=probe.key, options=options, seed=plan.grid.seed)
    needed = (*states(pipeline), probe.key)
    task = Task("stand_in", key, f"fit a stand-in of {whom}", pipeline.dataset, needed, pipeline, probe=probe.key)
    return plan.add(replace(task, options=options))


def crafted(plan: Plan, cell: Cell, stage: Stage, rows: tuple[int, int]) -> Task:
    """One attack on one shard; in a schedule, on what the steps before it left standing there."""
    attempt = cell.attempt
    assert attempt is not None
    before = _before(plan, cell) if stage.cascades else ()
    after = plan.observations(cell.system, *before, rows=rows)
    only: tuple[str, ...] = ()
    if cell.check is not None:
        after = plan.observations(cell.system, *cell.check.after)
        only = plan.observations(cell.system, *cell.check.only)
    pilot = _pilot(plan, cell, stage, plan.observations(cell.system, *before)) if stage.pilots else None
    content = _content(plan, cell, stage)
    stored = _stored(plan, cell, rows) if stage.replays else ()
    told: dict[str, Any] = {"rows": rows, "after": after, "pilot": pilot and pilot.key, "stored": stored}
    if cell.check is not None:
        check = cell.check
        told |= {"only": only, "most": check.most, "moved": check.moved, "up to": min(check.epsilon, 1e9)}
    options = (("selection", plan.grid.selection), ("rate", plan.grid.rate), ("stream", digest(plan.plainly(content))))
    text = f"craft {label(attempt.attack)} {attempt.norm} against {stage.whom} [{rows[0]}:{rows[1]}]"
    task = Task(
        "craft",
        plan.key("craft", **content, **told, seed=plan.grid.seed),
        text,
        cell.system.dataset,
        tuple(dict.fromkeys((*stage.inputs, *((pilot.key,) if pilot else ()), *after, *only, *(k for _, k in stored)))),
        stage.target,
        attempt=attempt,
        attack=stage.attack,
        probe=stage.probe.key,
        stand_in=stage.stand_in.key if stage.stand_in else None,
        pilot=pilot.key if pilot else None,
        after=after,
        only=only,
        stored=stored,
        rows=rows,
        check=cell.check,
        options=(*options, *beside(plan, cell)),
    )
    return plan.add(task)


def _stored(plan: Plan, cell: Cell, rows: tuple[int, int]) -> tuple[tuple[str, str], ...]:
    """The craft tasks of other systems on the same inputs at the same epsilons, with the names of the systems."""
    wanted = cell.attempt
    assert wanted is not None
    most = int(dict(wanted.attack.params).get("rows", 20))
    found: list[tuple[str, str]] = []
    for system, steps in plan.steps.items():
        if system == cell.system or system.dataset != cell.system.dataset or len({name for name, _ in found}) == most:
            continue
        for step in steps:
            made = step.attempt
            minimal = registry.constants(registry.locate("attack", made.attack.name)).get("minimal", True)
            same = (made.norm, made.epsilons, step.rows) == (wanted.norm, wanted.epsilons, rows)
            if same and not minimal and made.knowledge == "adaptive" and made.attack.name != "replay":
                found.append((f"{system.defense}, {label(system.victim)}", step.craft))
    return tuple(found)


def _before(plan: Plan, cell: Cell) -> tuple[Attempt, ...]:
    """The attempts so far on a system in a norm: what a step of a schedule need not repeat."""
    assert cell.attempt is not None
    earlier = (step.attempt for step in plan.steps.get(cell.system, ()) if step.attempt != cell.attempt)
    return tuple(dict.fromkeys(attempt for attempt in earlier if attempt.norm == cell.attempt.norm))


def _pilot(plan: Plan, cell: Cell, stage: Stage, after: tuple[str, ...]) -> Task:
    """The attack's first look at the inputs that the steps before it left standing, whatever their shard."""
    attempt = cell.attempt
    assert attempt is not None
    content = _content(plan, cell, stage)
    rows = attacked(plan.grid, cell)
    headline = plan.grid.headline.epsilon
    epsilon = headline if headline in attempt.epsilons else attempt.epsilons[-1]
    key = plan.key("pilot", **content, rows=rows, after=after, epsilon=epsilon, seed=plan.grid.seed)
    stream = digest(plan.plainly(content))
    told = {"selection": plan.grid.selection, "rate": plan.grid.rate, "stream": stream, "epsilon": epsilon}
    task = Task(
        "pilot",
        key,
        f"pilot {label(attempt.attack)} {attempt.norm} against {stage.whom}",
        cell.system.dataset,
        (*stage.inputs, *after),
        stage.target,
        attempt=attempt,
        attack=stage.attack,
        probe=stage.probe.key,
        stand_in=stage.stand_in.key if stage.stand_in else None,
        after=after,
        rows=rows,
        options=tuple(told.items()),
    )
    return plan.add(task)


def _content(plan: Plan, cell: Cell, stage: Stage) -> dict[str, Any]:
    """What decides an attack's answer to an input, whatever its shard."""
    attempt = cell.attempt
    assert attempt is not None
    return {
        "attack": identity(stage.attack.spec),
        "above": [child.key for child in stage.attack.children()],
        "target": [stage.target.key, stage.target.calibration],
        "probe": stage.probe.key,
        "stand_in": stage.stand_in and stage.stand_in.key,
        "dataset": key_of(cell.system.dataset),
        "norm": attempt.norm,
        "epsilons": attempt.epsilons,
        "knowledge": attempt.knowledge,
        "selection": plan.grid.selection,
        "rate": plan.grid.rate,
    }


def attacked(grid: Grid, cell: Cell) -> tuple[int, int]:
    """The range of test inputs that a cell attacks; raises ValueError where the data set has none there."""
    assert cell.attempt is not None
    size = test_size(cell.system.dataset)
    if grid.first >= size:
        raise ValueError(f"first is {grid.first}, but {label(cell.system.dataset)} has {size} test inputs")
    return grid.first, min(grid.first + (cell.attempt.inputs or grid.inputs), size)


def beside(plan: Plan, cell: Cell) -> tuple[tuple[str, str], ...]:
    """Whose random numbers move the images, where a flag wants them moved: the system's, which its author cannot know before."""
    if cell.check is None or not cell.check.moved:
        return ()
    return (("beside", plan.plainly(plan.pipelines[cell.system].key)),)


def replays(cell: Cell | Skip) -> bool:
    """Whether a cell's attack uses what others have made, and so comes after them."""
    if isinstance(cell, Skip) or cell.attempt is None:
        return False
    return "replay" in registry.constants(registry.locate("attack", cell.attempt.attack.name)).get("uses", ())


def name_of(system: System) -> str:
    """A system in the labels of its tasks."""
    return f"{system.defense} on {label(system.dataset)}, {label(system.victim)}"
