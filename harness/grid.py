"""A grid and its cells: one for each combination that makes sense, and a Skip with its reason for each that does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from harness import registry
from harness.isolation.policy import Isolation
from harness.spec import build, label
from harness.types import Knowledge, Norm, Skip, Spec, Threat


@dataclass(frozen=True)
class System:
    """What is evaluated: a data set, a victim and the defenses deployed with it, in order."""

    dataset: Spec
    victim: Spec
    defenses: tuple[Spec, ...]

    @property
    def defense(self) -> str:
        """The defenses as the board names them."""
        return " + ".join(label(spec) for spec in self.defenses) or "none"

    @property
    def names(self) -> tuple[str, str, str]:
        """Data set, victim and defenses as the board names them."""
        return label(self.dataset), label(self.victim), self.defense


@dataclass(frozen=True)
class Attempt:
    """One attack at one norm: all epsilons are one search, the larger on the survivors of the smaller.

    inputs: attacked test inputs, where they are fewer than the grid's.
    """

    attack: Spec
    norm: Norm
    epsilons: tuple[float, ...]
    knowledge: Knowledge
    inputs: int | None = None


@dataclass(frozen=True)
class Check:
    """Why a flag needs an attempt of its own, and on which inputs: the first `most` of those that `only` broke and `after` did not.

    only: empty for all inputs; it counts up to `epsilon`. moved: of images beside the same, see `harness.twins`. A
    success on inputs that were not moved counts in the worst case, as any success does.
    """

    flag: str
    only: tuple[Attempt, ...] = ()
    after: tuple[Attempt, ...] = ()
    epsilon: float = float("inf")
    most: int = 100
    moved: bool = False


@dataclass(frozen=True)
class Cell:
    """A system under one attempt (for a flag, with a check), or watched on shifted inputs, or (neither) on clean ones."""

    system: System
    attempt: Attempt | None = None
    shift: Spec | None = None
    check: Check | None = None


@dataclass(frozen=True)
class Threats:
    """A line of the grid's threats: a norm with its epsilons, ascending, and what the attacker knows.

    attacks, inputs: those of this line, where they are not the grid's.
    """

    norm: Norm
    epsilons: tuple[float, ...]
    knowledge: tuple[Knowledge, ...]
    attacks: tuple[Spec, ...] = ()
    inputs: int | None = None


@dataclass(frozen=True)
class Found:
    """Adversarial inputs for one system in one norm, who found them, and the attack that tries them."""

    dataset: str
    victim: str
    defense: str
    norm: Norm
    by: str
    attack: Spec

    def against(self, system: System) -> bool:
        """Whether they are for a system, by its names."""
        return (self.dataset, self.victim, self.defense) == system.names


@dataclass(frozen=True)
class Grid:
    """Everything that a run is about, resolved.

    inputs: attacked test inputs, from the place `first` on; clean_inputs: test inputs seen clean (None: all); shard: inputs a
    task; cascade: an adaptive attack is given what those listed before it left standing; scrutiny: every flag gets the
    cells that it needs ("full"), or only those that cost little ("light"); selection, scoring: draws a input for random
    systems; rate: false-positive rate of the threshold; changes: what --set and --limit replaced; isolation: where parts in
    files of their own run, if not here; measures: what else is to be known of each network; found: what submissions found.
    """

    name: str
    suite: str
    datasets: tuple[Spec, ...]
    victims: tuple[Spec, ...]
    defenses: tuple[tuple[Spec, ...], ...]
    attacks: tuple[Spec, ...]
    threats: tuple[Threats, ...]
    headline: Threat
    shifts: tuple[Spec, ...] = ()
    inputs: int = 1000
    first: int = 0
    clean_inputs: int | None = None
    shard: int = 256
    cascade: bool = False
    scrutiny: Literal["full", "light"] = "full"
    selection: int = 20
    scoring: int = 100
    rate: float = 0.01
    seed: int = 0
    size: str = "official"
    note: str = ""
    changes: tuple[str, ...] = ()
    isolation: Isolation | None = None
    measures: tuple[Spec, ...] = ()
    found: tuple[Found, ...] = ()


def role(spec: Spec) -> str:
    """The role of a defense, read from its class."""
    found = registry.constants(registry.locate(spec.kind, spec.name)).get("role")
    known = ("none", "training", "purifier", "detector")
    if found not in known:
        raise ValueError(
            f"defense {spec.name}: its class needs `role: ClassVar = ...`, one of {', '.join(known)}, not {found!r}"
        )
    return cast(str, found)


def systems(grid: Grid) -> Iterator[System]:
    """Every data set x victim x defense."""
    for dataset, victim, defenses in itertools.product(grid.datasets, grid.victims, grid.defenses):
        yield System(dataset, victim, defenses)


def attempts(grid: Grid) -> Iterator[Attempt | Skip]:
    """Every threat x attack that makes sense, in the order of the grid."""
    for threats in grid.threats:
        for attack, knowledge in itertools.product(threats.attacks or grid.attacks, threats.knowledge):
            reason = _misfit(attack, threats.norm, knowledge)
            if reason:
                yield Skip(f"{label(attack)} at {threats.norm}, {knowledge}: {reason}")
            else:
                inputs = None if threats.inputs is None else min(threats.inputs, grid.inputs)
                yield Attempt(attack, threats.norm, threats.epsilons, knowledge, inputs)


def norms_of(attack: Spec) -> tuple[str, ...]:
    """The norms in which an attack works, and each attack that it is given."""
    norms = registry.constants(registry.locate(attack.kind, attack.name)).get("norms") or build(attack).norms
    inner = [value for _, value in attack.params if isinstance(value, Spec) and value.kind == "attack"]
    return tuple(norm for norm in norms if all(norm in norms_of(spec) for spec in inner))


def _misfit(attack: Spec, norm: str, knowledge: str) -> str | None:
    """Why an attack cannot be run against a threat, or None."""
    constants = registry.constants(registry.locate(attack.kind, attack.name))
    norms = norms_of(attack)
    if norm not in norms:
        return f"it works in {', '.join(norms)} only"
    allowed = constants.get("knowledge", ("oblivious", "adaptive"))
    if knowledge not in allowed:
        return f"its attacker is {' or '.join(allowed)}"
    return None


def _pipeline_misfit(system: System) -> str | None:
    roles = [role(spec) for spec in system.defenses]
    if "training" in roles[1:]:
        return "a training defense replaces the classifier and must come first, once"
    return None


def cells(grid: Grid) -> Iterator[Cell | Skip]:
    """The cells of a grid: each system clean, on every shift, and under every attempt."""
    for system in systems(grid):
        reason = _pipeline_misfit(system)
        if reason:
            yield Skip(f"{system.defense}: {reason}")
            continue
        yield Cell(system)
        for shift in grid.shifts:
            yield Cell(system, shift=shift)
        for attempt in attempts(grid):
            yield attempt if isinstance(attempt, Skip) else Cell(system, attempt=attempt)
        for found in grid.found:
            if found.against(system):
                yield from (Cell(system, attempt=attempt) for attempt in _found(grid, found))


def _found(grid: Grid, found: Found) -> Iterator[Attempt]:
    """What was found, tried at every adaptive threat in its norm."""
    for threats in grid.threats:
        if threats.norm == found.norm and "adaptive" in threats.knowledge:
            inputs = None if threats.inputs is None else min(threats.inputs, grid.inputs)
            yield Attempt(found.attack, found.norm, threats.epsilons, "adaptive", inputs)
