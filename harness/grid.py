"""A grid: YAML -> frozen Cells, one for each combination that makes sense, and a Skip with its reason for each that does not."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from harness import registry
from harness.isolation.policy import Isolation
from harness.spec import build, label, name_and_params, number, parse
from harness.types import Knowledge, Norm, Skip, Spec, Threat

SIZES = ("smoke", "dev", "official")


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

    only: empty for all inputs; it counts up to `epsilon`. moved: the images are shifted by one pixel down and right first. A
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


_LINES = {
    "datasets": "dataset",
    "victims": "victim",
    "defenses": "defense",
    "attacks": "attack",
    "shifts": "dataset",
    "measures": "measure",
}
_EXTRA = ("sizes", "fallback")
_THREAT = ("norm", "epsilons", "knowledge", "attacks", "inputs")


def read(name: str, *, size: str | None = None, changes: Mapping[str, Any] | None = None) -> Grid:
    """Read a shipped grid or a YAML file; raises ValueError or FileNotFoundError with file and line."""
    path = find(name)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ValueError(f"{path}, line {line}: {error.problem or 'not valid YAML'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not text in YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, Mapping):
        raise ValueError(f"{path}: a grid is a mapping with the keys {', '.join(_known_keys())}")
    return from_mapping({"name": path.stem, **document}, size=size, changes=changes, where=str(path))


def find(name: str) -> Path:
    """The file of a grid: a path to a YAML file, or the name of a shipped grid."""
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise FileNotFoundError(f"there is no grid file {path} (looked from {Path.cwd()})")
        return path
    folder = registry.root() / "harness" / "grids"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise registry.UnknownName(registry.unknown(name, known, "grid") + "; or a path to a .yaml file")
    return folder / f"{name}.yaml"


def from_mapping(
    document: Mapping[str, Any],
    *,
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    where: str = "grid",
) -> Grid:
    """A Grid from plain data: the keys of `Grid`, and `sizes` and `fallback`, whose keys replace others."""
    merged = dict(document)
    _check_keys(merged, where)
    if size is not None and size not in SIZES:
        raise ValueError(registry.unknown(size, list(SIZES), "size"))
    if size is not None:
        sizes = _mapping(merged.get("sizes", {}), "sizes", where)
        merged |= {**_mapping(sizes.get(size, {}), f"sizes: {size}", where), "size": size}
    merged |= dict(changes or {})
    _check_keys(merged, where)
    told = tuple(f"{key}={json.dumps(value)}" for key, value in (changes or {}).items())
    fallback = _mapping(merged.get("fallback", {}), "fallback", where)
    _check_keys(fallback, where)
    if fallback and not _available(merged.get("datasets", [])):
        merged |= fallback
    return replace(_build(merged, where), changes=told)


def _mapping(value: object, key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: {key} holds keys of the grid and what replaces them, not {value!r}")
    return value


def _known_keys() -> list[str]:
    return [field.name for field in fields(Grid) if field.name not in ("changes", "isolation", "found")] + list(_EXTRA)


def _check_keys(document: Mapping[str, Any], where: str) -> None:
    for key in document:
        if key not in _known_keys():
            raise ValueError(f"{where}: " + registry.unknown(str(key), _known_keys(), "key"))


def _available(lines: Sequence[object]) -> bool:
    """Whether every named data set can be had."""
    for line in lines if isinstance(lines, list) else []:
        for spec in parse("dataset", line):
            try:
                build(spec).files()
            except FileNotFoundError:
                return False
    return True


def _build(document: Mapping[str, Any], where: str) -> Grid:
    values: dict[str, Any] = {k: v for k, v in document.items() if k not in (*_LINES, *_EXTRA, "threats", "headline")}
    _check_numbers(values, where)
    values.setdefault("suite", f"{document.get('name', 'grid')}-1")
    for key, kind in _LINES.items():
        lines = document.get(key, ["none"] if key == "defenses" else [])
        if not isinstance(lines, list):
            raise ValueError(f"{where}: {key} is a list, not {lines!r}")
        if not lines and key not in ("shifts", "measures"):
            raise ValueError(f"{where}: the grid is empty: {key} holds nothing; give at least one {kind}")
        found = _pipelines(lines) if key == "defenses" else _line_specs(kind, key, lines)
        values[key] = tuple(dict.fromkeys(found))
    values["threats"] = tuple(dict.fromkeys(_threats(document.get("threats"), where)))
    values["headline"] = _headline(document.get("headline"), values["threats"], where)
    return Grid(**values)


def _check_numbers(values: Mapping[str, Any], where: str) -> None:
    for key in ("inputs", "shard", "selection", "scoring", "clean_inputs"):
        value = values.get(key, 1)
        if value is None and key == "clean_inputs":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{where}: {key} takes a whole number above 0, not {value!r}")
    clean, inputs = values.get("clean_inputs"), values.get("inputs", Grid.inputs)
    first = values.get("first", Grid.first)
    if not isinstance(first, int) or isinstance(first, bool) or first < 0:
        raise ValueError(f"{where}: first takes a whole number from 0 on, not {first!r}")
    if clean is not None and clean < first + inputs:
        raise ValueError(
            f"{where}: clean_inputs is {clean}, but {inputs} inputs are attacked; each must be seen clean too"
        )
    if not isinstance(values.get("cascade", False), bool):
        raise ValueError(f"{where}: cascade is true or false, not {values['cascade']!r}")
    _one_of(str(values.get("scrutiny", Grid.scrutiny)), ("full", "light"), "scrutiny", where)
    rate, seed = values.get("rate", Grid.rate), values.get("seed", Grid.seed)
    if not isinstance(rate, float) or not 0 < rate < 1:
        raise ValueError(f"{where}: rate is a false-positive rate between 0 and 1, such as 0.01, not {rate!r}")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"{where}: seed takes a whole number, not {seed!r}")


def _line_specs(kind: str, key: str, lines: list[Any]) -> Iterator[Spec]:
    """The Specs of the lines; a shift is another data set, or a part of the kind `shift`."""
    for line in lines:
        name, _ = name_and_params(kind, line)
        yield from parse("shift" if key == "shifts" and name in registry.names("shift") else kind, line)


def _pipelines(lines: list[Any]) -> Iterator[tuple[Spec, ...]]:
    """Each line is a defense or a list of defenses; "none" is the empty pipeline."""
    for line in lines:
        parts = line if isinstance(line, list) else [line]
        if not parts:
            raise ValueError("a pipeline of defenses is empty; write none for the undefended victim")
        for combination in itertools.product(*(list(parse("defense", part)) for part in parts)):
            yield tuple(spec for spec in combination if role(spec) != "none")


def role(spec: Spec) -> str:
    """The role of a defense, read from its class."""
    found = registry.constants(registry.locate(spec.kind, spec.name)).get("role")
    known = ("none", "training", "purifier", "detector")
    if found not in known:
        raise ValueError(
            f"defense {spec.name}: its class needs `role: ClassVar = ...`, one of {', '.join(known)}, not {found!r}"
        )
    return cast(str, found)


def _threats(lines: object, where: str) -> Iterator[Threats]:
    if not isinstance(lines, list) or not lines:
        raise ValueError(
            f"{where}: threats is a list such as [{{norm: linf, epsilons: [0.1], knowledge: [oblivious, adaptive]}}]"
        )
    for line in lines:
        if not isinstance(line, Mapping) or not {"norm", "epsilons"} <= line.keys():
            raise ValueError(f"{where}: a threat has norm and epsilons, not {line!r}")
        for key in line:
            if key not in _THREAT:
                raise ValueError(f"{where}: " + registry.unknown(str(key), list(_THREAT), "key of a threat"))
        norm = _one_of(str(line["norm"]), get_args(Norm), "norm", where)
        epsilons = line["epsilons"] if isinstance(line["epsilons"], list) else [line["epsilons"]]
        numbers = tuple(sorted({_epsilon(value, norm, where) for value in epsilons}))
        if not numbers:
            raise ValueError(f"{where}: a threat without epsilons; give at least one")
        knowledge = line.get("knowledge", ["oblivious", "adaptive"])
        listed = knowledge if isinstance(knowledge, list) else [knowledge]
        known = tuple(_one_of(str(k), get_args(Knowledge), "knowledge", where) for k in listed)
        attacks, inputs = line.get("attacks", []), line.get("inputs")
        if not isinstance(attacks, list):
            raise ValueError(f"{where}: attacks of a threat is a list, not {attacks!r}")
        _check_numbers({"inputs": 1 if inputs is None else inputs}, where)
        chosen = tuple(_line_specs("attack", "attacks", attacks))
        yield Threats(cast(Norm, norm), numbers, cast("tuple[Knowledge, ...]", known), chosen, inputs)


def _epsilon(value: object, norm: str, where: str) -> float:
    epsilon = number(value)
    if epsilon is None or not 0 < epsilon < float("inf"):
        raise ValueError(f"{where}: epsilon is a number above 0 (or a fraction such as 8/255), not {value!r}")
    if norm == "linf" and epsilon > 1:
        raise ValueError(
            f"{where}: epsilon {value} exceeds the box; inputs lie in [0, 1], so linf takes at most 1 (8 of 255 is 8/255)"
        )
    if norm == "patch" and epsilon != int(epsilon):
        raise ValueError(f"{where}: epsilon of a patch is its side in pixels, a whole number, not {value!r}")
    return epsilon


def _one_of(value: str, known: Sequence[str], what: str, where: str) -> str:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{where}: {what} is one of {', '.join(known)}, not '{value}'{hint}")
    return value


def _headline(line: object, threats: Sequence[Threats], where: str) -> Threat:
    """The threat that ranks; by default the first line's largest epsilon, adaptive where it is attacked so."""
    if line is None:
        first = threats[0]
        return Threat(first.norm, first.epsilons[-1], "adaptive" if "adaptive" in first.knowledge else "oblivious")
    if not isinstance(line, Mapping) or line.keys() != {"norm", "epsilon", "knowledge"}:
        raise ValueError(f"{where}: the headline has norm, epsilon and knowledge, not {line!r}")
    threat = Threat(line["norm"], _epsilon(line["epsilon"], str(line["norm"]), where), line["knowledge"])
    for known in threats:
        if threat.norm == known.norm and threat.epsilon in known.epsilons and threat.knowledge in known.knowledge:
            return threat
    raise ValueError(f"{where}: the headline {line} is not among the threats; add it to them")


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
