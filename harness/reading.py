"""A grid from YAML or plain data: every line resolved, every mistake with what was given and what was expected."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from harness import registry
from harness.documents import document
from harness.grid import Grid, Threats, role
from harness.spec import build, name_and_params, number, parse
from harness.types import Knowledge, Norm, Spec, Threat

SIZES = ("smoke", "dev", "official")
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
        content = document(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ValueError(f"{path}, line {line}: {error.problem or 'not valid YAML'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not text in YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: a grid is a mapping with the keys {', '.join(_known_keys())}")
    return from_mapping({"name": path.stem, **content}, size=size, changes=changes, where=str(path))


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
