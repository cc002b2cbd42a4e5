"""Tasks and what they are about: data, each with a key, so that shared ones stand once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from harness import registry
from harness.data import fingerprint, key_of
from harness.digests import code_digest, digest, module_file, tree_digest
from harness.grid import Attempt, Check, Grid, System, role
from harness.isolation.policy import Isolation
from harness.spec import identity, label, nested
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


def states(pipeline: Pipeline) -> tuple[str, ...]:
    """The keys of all states that a running system is loaded from."""
    keys = dict.fromkeys(f.key for part in (pipeline.victim, *pipeline.parts) for f in states_of(part))
    if pipeline.calibration:
        keys[pipeline.calibration] = None
    return tuple(keys)
