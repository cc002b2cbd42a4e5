"""Cells -> tasks: each is data with a key, shared tasks stand once, and the plan never depends on results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from harness import registry
from harness.data import fingerprint, key_of, test_size
from harness.grid import Attempt, Cell, Check, Grid, System, role
from harness.isolation.policy import Isolation
from harness.spec import code_digest, digest, identity, label, module_file, nested, tree_digest, with_victim
from harness.types import Skip, Spec

# The first-party modules, besides a part's own, whose code decides a result of each kind of task.
_ENGINE = {
    "fit": ("harness.draws",),
    "calibrate": ("harness.system",),
    "probe": ("harness.system", "harness.probe"),
    "stand_in": ("harness.stand_in", "harness.draws"),
    "pilot": ("harness.views", "harness.draws"),
    "craft": ("harness.views", "harness.draws"),
    "observe": ("harness.system", "harness.draws"),
    "study": ("harness.draws",),
    "measure": ("harness.draws",),
}


@dataclass(frozen=True)
class Fitted:
    """A part, the key under which its state stands (or would stand), and the parts that it consumes.

    inputs: by parameter name, its nested parts. state: whether there is a state. isolation: where it runs, if not here.
    """

    spec: Spec
    key: str
    state: bool
    inputs: tuple[tuple[str, Fitted | tuple[Fitted, ...]], ...] = ()
    isolation: Isolation | None = None

    def children(self) -> Iterator[Fitted]:
        """The nested parts, in order."""
        for _, value in self.inputs:
            yield from value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True)
class Pipeline:
    """A system with the keys of its parts' states; calibration is None where nothing rejects."""

    dataset: Spec
    victim: Fitted
    parts: tuple[Fitted, ...] = ()
    key: str = ""
    calibration: str | None = None

    @property
    def classifier(self) -> Fitted:
        """What classifies: the training defense, if there is one, else the victim."""
        return self.parts[0] if self.parts and role(self.parts[0].spec) == "training" else self.victim


@dataclass(frozen=True)
class Task:
    """A unit of work: performed by the function of its kind, stored under its key.

    inputs: the keys of the results that it consumes; of these, craft is the task whose answers are observed, probe, stand_in
    and pilot what an attack is told, after the observations of what is not to be repeated, only those of what is to be tried
    again, stored the craft tasks of other rows with their names. rows: the inputs of its part of the data. check: the flag
    that it is for. plain: its key if nothing of it ran elsewhere.
    """

    kind: str
    key: str
    label: str
    dataset: Spec
    inputs: tuple[str, ...]
    pipeline: Pipeline | None = None
    part: Fitted | None = None
    attempt: Attempt | None = None
    attack: Fitted | None = None
    shift: Spec | None = None
    craft: str | None = None
    probe: str | None = None
    stand_in: str | None = None
    pilot: str | None = None
    after: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    stored: tuple[tuple[str, str], ...] = ()
    rows: tuple[int, int] = (0, 0)
    check: Check | None = None
    options: tuple[tuple[str, Any], ...] = ()
    plain: str = ""

    @property
    def seed(self) -> str:
        """What its random numbers are made from: they are the same wherever a part runs."""
        return self.plain or self.key


@dataclass(frozen=True)
class Step:
    """The observation of an attempt on a shard, under its key, and the craft task whose answers it saw."""

    attempt: Attempt
    rows: tuple[int, int]
    key: str
    craft: str


@dataclass
class Plan:
    """Tasks in an order in which each comes after what it consumes, the skips, and which tasks observe which system.

    steps: the observations so far of a system under attack, in order. measured: the task of each measure of a system's
    network, or why there is none. plain: for each key that isolation has a share in, what it would be without.
    """

    grid: Grid
    tasks: dict[str, Task] = field(default_factory=dict)
    skips: dict[str, int] = field(default_factory=dict)
    observed: dict[System, list[Task]] = field(default_factory=dict)
    probes: dict[System, Task] = field(default_factory=dict)
    pipelines: dict[System, Pipeline] = field(default_factory=dict)
    steps: dict[System, list[Step]] = field(default_factory=dict)
    measured: dict[System, dict[Spec, Task | Skip]] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)

    def add(self, task: Task) -> Task:
        """Add a task unless it is there."""
        return self.tasks.setdefault(task.key, replace(task, plain=self.plain.get(task.key, "")))

    def key(self, kind: str, /, *, isolation: Isolation | None = None, **content: Any) -> str:
        """The key of a result from what decides it; isolation: where a part that is fitted runs, if not here."""
        where = {"isolation": isolation.key} if isolation else {}
        return self.digest({"task": kind, "engine": engine(kind), **content}, **where)

    def digest(self, content: Any, /, **where: Any) -> str:
        """The digest of what decides something and of where that runs; what it would be without isolation is noted."""
        key = digest({**content, **where} if where else content)
        if self.grid.isolation and (plain := digest(self.plainly(content))) != key:
            self.plain[key] = plain
        return key

    def plainly(self, content: Any) -> Any:
        """Content with the keys that it would have without isolation."""
        if isinstance(content, dict):
            return {name: self.plainly(value) for name, value in content.items()}
        if isinstance(content, list | tuple):
            return [self.plainly(value) for value in content]
        return self.plain.get(content, content) if isinstance(content, str) else content

    def observations(self, system: System, *attempts: Attempt, rows: tuple[int, int] | None = None) -> tuple[str, ...]:
        """The keys of a system's observations so far under some attempts (of one shard)."""
        steps = (s for s in self.steps.get(system, ()) if s.attempt in attempts and rows in (None, s.rows))
        return tuple(dict.fromkeys(step.key for step in steps))


@lru_cache(maxsize=16)
def engine(kind: str) -> str:
    """Digest of the harness's own code that decides a kind of result."""
    files = [module_file(module) for module in _ENGINE[kind]]
    performing = {"pilot": "craft", "craft": "craft", "calibrate": "perform", "probe": "perform", "observe": "perform"}
    performing |= {"measure": "measure"}
    own = module_file(f"harness.{performing[kind]}") if kind in performing else None
    return digest([code_digest(file) for file in files if file] + ([tree_digest(own)] if own else []))


def tasks(grid: Grid, cells: Iterable[Cell | Skip]) -> Plan:
    """The tasks of all cells."""
    plan = Plan(grid)
    for cell in sorted(cells, key=lambda cell: (_checks(cell), _replays(cell))):
        if isinstance(cell, Skip):
            plan.skips[cell.reason] = plan.skips.get(cell.reason, 0) + 1
            continue
        if cell.system not in plan.pipelines:
            plan.pipelines[cell.system] = _pipeline(plan, cell.system)
            plan.probes[cell.system] = _probe(plan, plan.pipelines[cell.system], _name(cell.system))
            plan.measured[cell.system] = {spec: _measure(plan, cell.system, spec) for spec in grid.measures}
        found = plan.observed.setdefault(cell.system, [])
        found.extend(_observe(plan, cell))
    return plan


def _replays(cell: Cell | Skip) -> bool:
    """Whether a cell's attack uses what others have made, and so comes after them."""
    if isinstance(cell, Skip) or cell.attempt is None:
        return False
    return "replay" in registry.constants(registry.locate("attack", cell.attempt.attack.name)).get("uses", ())


def _checks(cell: Cell | Skip) -> bool:
    """Whether a cell is for a flag, and so comes after what it looks back on."""
    return isinstance(cell, Cell) and cell.check is not None


def fitted(plan: Plan, spec: Spec, dataset: Spec, *, context: Sequence[Fitted] = ()) -> Fitted:
    """A part with its nested parts fitted; adds the fit tasks. context: the victim and the parts before it (defenses)."""
    inputs: list[tuple[str, Fitted | tuple[Fitted, ...]]] = []
    for name, value in nested(spec).items():
        if isinstance(value, tuple):
            inputs.append((name, tuple(fitted(plan, v, dataset) for v in value)))
        else:
            inputs.append((name, fitted(plan, value, dataset)))
    source = registry.locate(spec.kind, spec.name)
    if spec.kind == "dataset":
        return Fitted(spec, key_of(spec), False)
    consumed = [f for _, value in inputs for f in (value if isinstance(value, tuple) else (value,))]
    above = [f.key for f in (*context, *consumed)]
    isolation = plan.grid.isolation if foreign(spec) else None
    content = {"spec": identity(spec), "dataset": fingerprint(dataset), "above": above, "seed": plan.grid.seed}
    key = plan.key("fit", isolation=isolation, **content)
    part = Fitted(spec, key, registry.has_method(source, "fit"), tuple(inputs), isolation)
    if part.state:
        needed = tuple(f.key for above_it in (*context, *consumed) for f in states_of(above_it))
        pipeline = Pipeline(dataset, context[0], tuple(context[1:])) if context else None
        plan.add(Task("fit", key, f"fit {label(spec)} on {label(dataset)}", dataset, needed, pipeline, part))
    return part


def foreign(spec: Spec) -> bool:
    """Whether a part, or one that it is given, is a file of its author rather than an installed part."""
    inner = (v for value in nested(spec).values() for v in (value if isinstance(value, tuple) else (value,)))
    return registry.locate(spec.kind, spec.name).module is None or any(v.name != "self" and foreign(v) for v in inner)


def states_of(part: Fitted) -> Iterator[Fitted]:
    """The part and what it consumes, where a state is stored."""
    for child in part.children():
        yield from states_of(child)
    if part.state:
        yield part


def _states(pipeline: Pipeline) -> tuple[str, ...]:
    """The keys of all states that a running system is loaded from."""
    keys = dict.fromkeys(f.key for part in (pipeline.victim, *pipeline.parts) for f in states_of(part))
    if pipeline.calibration:
        keys[pipeline.calibration] = None
    return tuple(keys)


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
    plan.add(Task("calibrate", calibration, label_, system.dataset, _states(bare), bare, options=options))
    return Pipeline(system.dataset, victim, tuple(parts), key, calibration)


def _name(system: System) -> str:
    return f"{system.defense} on {label(system.dataset)}, {label(system.victim)}"


def _probe(plan: Plan, pipeline: Pipeline, whom: str) -> Task:
    options = _headline(plan)
    key = plan.key("probe", system=pipeline.key, calibration=pipeline.calibration, options=options, seed=plan.grid.seed)
    return plan.add(Task("probe", key, f"probe {whom}", pipeline.dataset, _states(pipeline), pipeline, options=options))


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
    needed = tuple(dict.fromkeys((*_states(network), *(f.key for f in states_of(part)))))
    whom = label(network.classifier.spec) + (f" of {label(system.victim)}" if trained else "")
    text = f"measure {label(spec)} of {whom} on {label(system.dataset)}"
    return plan.add(Task("measure", key, text, system.dataset, needed, network, part))


def _headline(plan: Plan) -> tuple[tuple[str, Any], ...]:
    headline = plan.grid.headline
    return (("epsilon", headline.epsilon), ("norm", headline.norm), ("rate", plan.grid.rate))


def _stand_in(plan: Plan, pipeline: Pipeline, probe: Task, whom: str) -> Task:
    """The fit of a stand-in for a system's gradient, which the probe may find to be of no use."""
    options = _headline(plan)
    key = plan.key("stand_in", probe=probe.key, options=options, seed=plan.grid.seed)
    needed = (*_states(pipeline), probe.key)
    task = Task("stand_in", key, f"fit a stand-in of {whom}", pipeline.dataset, needed, pipeline, probe=probe.key)
    return plan.add(replace(task, options=options))


def shards(first: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Ranges of at most `size` inputs."""
    return [(start, min(start + size, stop)) for start in range(first, stop, size)]


def _attacked(grid: Grid, cell: Cell) -> tuple[int, int]:
    """The range of test inputs that a cell attacks; raises ValueError where the data set has none there."""
    assert cell.attempt is not None
    size = test_size(cell.system.dataset)
    if grid.first >= size:
        raise ValueError(f"first is {grid.first}, but {label(cell.system.dataset)} has {size} test inputs")
    return grid.first, min(grid.first + (cell.attempt.inputs or grid.inputs), size)


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
    stage = _staged(plan, cell, attack)
    first, stop = _attacked(grid, cell)
    for rows in shards(first, stop, grid.shard if cell.check is None else stop - first):
        craft = _craft(plan, cell, stage, rows)
        observation = _observation(plan, cell, rows=rows, what={"craft": craft.key}, craft=craft)
        if cell.check is None:
            plan.steps.setdefault(cell.system, []).append(Step(cell.attempt, rows, observation.key, craft.key))
        yield observation


def _clean(grid: Grid, system: System) -> Iterator[tuple[tuple[int, int], int]]:
    """Ranges of clean inputs with their scoring draws: of inputs that no attack sees, a random system gets ten at most."""
    stop, attacked = grid.clean_inputs or -1, grid.first + grid.inputs
    random = any(registry.constants(registry.locate("defense", spec.name)).get("random") for spec in system.defenses)
    if not random or 0 < stop <= attacked or test_size(system.dataset) <= attacked:
        yield (0, stop), grid.scoring
        return
    yield (0, attacked), grid.scoring
    yield (attacked, stop), min(grid.scoring, 10)


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
    options = (("selection", grid.selection), ("scoring", scoring or grid.scoring), ("rate", grid.rate))
    content = {**what, "system": pipeline.key, "calibration": pipeline.calibration, "rows": rows, "options": options}
    key = plan.key("observe", **content, seed=grid.seed)
    inputs = _states(pipeline) + ((craft.key,) if craft else ())
    name = label(cell.attempt.attack) if cell.attempt else label(cell.shift) if cell.shift else "clean"
    text = f"observe {_name(cell.system)} under {name} [{rows[0]}:{rows[1] if rows[1] > 0 else ''}]"
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


@dataclass(frozen=True)
class _Stage:
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
        states = (f.key for child in self.attack.children() for f in states_of(child))
        told = (self.probe.key, *((self.stand_in.key,) if self.stand_in else ()))
        return tuple(dict.fromkeys((*_states(self.target), *states, *told)))


def _staged(plan: Plan, cell: Cell, attack: Fitted) -> _Stage:
    """Against the oblivious view there is no defense in the target, so that one set of inputs serves every system."""
    attempt, pipeline = cell.attempt, plan.pipelines[cell.system]
    assert attempt is not None
    oblivious = attempt.knowledge == "oblivious"
    target = Pipeline(cell.system.dataset, pipeline.victim, (), pipeline.victim.key) if oblivious else pipeline
    whom = f"{label(cell.system.victim)} on {label(cell.system.dataset)}" if oblivious else _name(cell.system)
    source = registry.locate("attack", attack.spec.name)
    constants = registry.constants(source)
    probe = _probe(plan, target, whom)
    stand_in = _stand_in(plan, target, probe, whom) if "gradients" in constants.get("uses", ()) else None
    pilots = not oblivious and registry.has_method(source, "pilot")
    cascades = plan.grid.cascade and not oblivious and not constants.get("minimal") and cell.check is None
    return _Stage(attack, target, whom, probe, stand_in, pilots, cascades, replays=_replays(cell))


def _craft(plan: Plan, cell: Cell, stage: _Stage, rows: tuple[int, int]) -> Task:
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
        options=options,
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


def _pilot(plan: Plan, cell: Cell, stage: _Stage, after: tuple[str, ...]) -> Task:
    """The attack's first look at the inputs that the steps before it left standing, whatever their shard."""
    attempt = cell.attempt
    assert attempt is not None
    content = _content(plan, cell, stage)
    rows = _attacked(plan.grid, cell)
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


def _content(plan: Plan, cell: Cell, stage: _Stage) -> dict[str, Any]:
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
