"""Specs: read from a grid line, resolved with defaults, identified by a hash, labelled for people, built."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.digests import beside, code_digest, file_digest
from harness.types import Spec


def parse(kind: str, line: object) -> Iterator[Spec]:
    """The Specs that a grid line stands for: a name, {name: parameters} or {"name": name, **parameters}; lists expand."""
    name, params = name_and_params(kind, line)
    source = registry.locate(kind, name)
    known = registry.parameters(source)
    choices: list[list[Any]] = []
    for key, value in params.items():
        if key not in known:
            raise ValueError(f"{kind} {name}: " + registry.unknown(key, list(known) or ["none"], "parameter"))
        alternatives = _alternatives(known[key], value)
        if not alternatives:
            raise ValueError(f"{kind} {name}: parameter '{key}' takes {known[key].annotation}, not an empty list")
        choices.append([_checked(source, known[key], v) for v in alternatives])
    for chosen in itertools.product(*choices):
        yield resolve(Spec.of(kind, source.name, **dict(zip(params, chosen, strict=True))))


def name_and_params(kind: str, line: object) -> tuple[str, dict[str, Any]]:
    """The name and the parameters that a grid line gives."""
    if isinstance(line, Spec):
        return line.name, dict(line.params)
    if isinstance(line, str):
        return line, {}
    if isinstance(line, Mapping) and "name" in line:
        return str(line["name"]), {str(k): v for k, v in line.items() if k != "name"}
    if isinstance(line, Mapping) and len(line) == 1:
        (name, params), *_ = line.items()
        if params is None or isinstance(params, Mapping):
            return str(name), {str(k): v for k, v in (params or {}).items()}
    raise ValueError(f"a {kind} is a name or {{name: {{parameter: value}}}}, not {line!r}")


def _alternatives(parameter: registry.Parameter, value: Any) -> list[Any]:
    """The values that a list stands for; for a tuple parameter, a list of lists."""
    if parameter.annotation.startswith("tuple"):
        return value if isinstance(value, list) and value and all(isinstance(v, list) for v in value) else [value]
    values = value if isinstance(value, list) else [value]
    if "Spec" in parameter.annotation:
        return [spec for v in values for spec in _nested_alternatives(_kind_of(parameter), v)]
    return values


def _nested_alternatives(kind: str, value: Any) -> list[Any]:
    """The parts that {name: parameters} stands for, lists among the parameters expanded."""
    if not isinstance(value, Mapping):
        return [value]
    name, params = name_and_params(kind, value)
    if name != "self":
        return list(parse(kind, value))
    lists = [v if isinstance(v, list) else [v] for v in params.values()]
    return [Spec.of(kind, "self", **dict(zip(params, chosen, strict=True))) for chosen in itertools.product(*lists)]


def _kind_of(parameter: registry.Parameter) -> str:
    """The kind of part that a parameter takes: that of its default, else its name."""
    return parameter.default.kind if isinstance(parameter.default, Spec) else parameter.name


def _checked(source: registry.Source, parameter: registry.Parameter, value: Any) -> Any:
    """The value as its annotation wants it, or a ValueError that says what was expected."""
    where = f"{source.kind} {source.name}: parameter '{parameter.name}'"
    for annotation in parameter.annotation.split("|"):
        accepted, result = _accept(annotation.strip(), value, parameter, where)
        if accepted:
            return result
    raise ValueError(f"{where} takes {parameter.annotation}, not {value!r}")


def _accept(annotation: str, value: Any, parameter: registry.Parameter, where: str) -> tuple[bool, Any]:
    if annotation == "None":
        return value is None, None
    if annotation == "bool":
        return isinstance(value, bool), value
    if annotation == "int":
        return isinstance(value, int) and not isinstance(value, bool), value
    if annotation == "float":
        value = number(value)
        return value is not None, value
    if annotation == "str":
        return isinstance(value, str), value
    if annotation == "Path":
        return isinstance(value, str | Path), Path(str(value)).expanduser().resolve() if value is not None else None
    if annotation == "Spec":
        return _accept_spec(value, parameter)
    if annotation.startswith("Literal["):
        return value in ast.literal_eval("(" + annotation[len("Literal[") : -1] + ",)"), value
    if annotation.startswith("tuple["):
        return _accept_tuple(annotation, value, parameter, where)
    return True, value


def number(value: Any) -> float | None:
    """A float, also from text such as 8/255 (YAML has no fractions)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        numerator, _, denominator = str(value).partition("/")
        return float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _accept_spec(value: Any, parameter: registry.Parameter) -> tuple[bool, Any]:
    if isinstance(value, Spec):
        return True, value if value.name == "self" else next(parse(value.kind, value))
    kind = _kind_of(parameter)
    name, params = name_and_params(kind, value)
    if name == "self":
        return True, Spec.of(kind, "self", **params)
    return True, next(parse(kind, value))


def _accept_tuple(annotation: str, value: Any, parameter: registry.Parameter, where: str) -> tuple[bool, Any]:
    inner = annotation[len("tuple[") : -1].split(",")[0].strip()
    if not isinstance(value, list | tuple):
        return False, None
    item = parameter
    if isinstance(parameter.default, tuple) and parameter.default:
        item = replace(parameter, default=parameter.default[0])
    results = [_accept(inner, v, item, where) for v in value]
    return all(accepted for accepted, _ in results), tuple(result for _, result in results)


def resolve(spec: Spec) -> Spec:
    """The same Spec with every default filled in, nested Specs too."""
    source = registry.locate(spec.kind, spec.name)
    given = dict(spec.params)
    if source.filled is not None:
        given.setdefault(*source.filled)
    known = registry.parameters(source)
    params: dict[str, Any] = {}
    for name, parameter in known.items():
        if parameter.required and name not in given:
            raise ValueError(
                f"{spec.kind} {spec.name}: parameter '{name}' ({parameter.annotation}) has no default; give it"
            )
        params[name] = _resolved(given.get(name, parameter.default))
    for name in given.keys() - known.keys():
        raise ValueError(f"{spec.kind} {spec.name}: " + registry.unknown(name, list(known) or ["none"], "parameter"))
    return Spec.of(spec.kind, source.name, **params)


def _resolved(value: Any) -> Any:
    if isinstance(value, Spec) and value.name != "self":
        return resolve(value)
    if isinstance(value, tuple):
        return tuple(_resolved(v) for v in value)
    return value


def with_victim(spec: Spec, victim: Spec) -> Spec:
    """The same Spec with each nested victim "self" replaced by the row's victim, its given parameters changed."""

    def replaced(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(replaced(v) for v in value)
        if not isinstance(value, Spec):
            return value
        if value.name == "self":
            return resolve(Spec.of(victim.kind, victim.name, **{**dict(victim.params), **dict(value.params)}))
        return with_victim(value, victim)

    return Spec(spec.kind, spec.name, tuple((name, replaced(value)) for name, value in spec.params))


def nested(spec: Spec) -> dict[str, Spec | tuple[Spec, ...]]:
    """The parameters of a Spec that are parts themselves."""
    found: dict[str, Spec | tuple[Spec, ...]] = {}
    for name, value in spec.params:
        if isinstance(value, Spec) or (isinstance(value, tuple) and value and isinstance(value[0], Spec)):
            found[name] = value
    return found


def build(spec: Spec) -> Any:
    """An instance of the part."""
    return registry.load(spec.kind, spec.name)(**dict(spec.params))


def label(spec: Spec) -> str:
    """The name and the parameters that differ from their defaults: `pgd(steps=10)`."""
    if spec.name == "self":
        return _call("self", dict(spec.params))
    source = registry.locate(spec.kind, spec.name)
    known = registry.parameters(source)
    changed = {
        name: value for name, value in spec.params if name not in known or value != _resolved(known[name].default)
    }
    if source.filled is not None:
        changed.pop(source.filled[0], None)
    name = f"{source.path.name}:{source.class_name}" if source.module is None else spec.name
    return _call(name, changed)


def _call(name: str, params: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{k}={_short(v)}' for k, v in params.items())})" if params else name


def _short(value: Any) -> str:
    if isinstance(value, Spec):
        return label(value)
    return f"{value:g}" if isinstance(value, float) else Path(value).name if isinstance(value, Path) else str(value)


def plain(value: Any) -> Any:
    """A value as JSON can hold it, for hashes and records; a file is its content's digest, a Spec its identity."""
    if isinstance(value, Spec):
        return identity(value)
    if isinstance(value, Path):
        return {"file": file_digest(value)}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


def identity(spec: Spec) -> dict[str, Any]:
    """What tells a part from every other: kind, name, all parameters, code, files by content, what lies beside it."""
    source = registry.locate(spec.kind, spec.name)
    name = source.class_name if source.module is None else spec.name
    params = {key: plain(value) for key, value in spec.params}
    found = {"kind": spec.kind, "name": name, "params": params, "code": code_digest(source.path)}
    content = beside(source.path) if source.module is None else ""
    return found | ({"beside": content} if content else {})
