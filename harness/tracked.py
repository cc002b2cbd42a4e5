"""What a record becomes in MLflow: its identity, and the content of the runs of a system and its cells. Pure functions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.rank import group

Record = Mapping[str, Any]

TAG, PARAM = 4_900, 5_900  # characters that MLflow keeps, with room to spare
_UNTOLD = {
    "created",
    "seconds",
    "environment",
    "command",
    "gallery",
    "pictures",
}  # may differ between two equal results
_PERCENT = ("clean_accuracy", "false_positive_rate", "true_positive_rate")


@dataclass(frozen=True)
class Content:
    """What one run holds."""

    name: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def identity(record: Record) -> str:
    """What two records share of which the newer replaces the older: the group that is ranked together, and the defense."""
    return " | ".join(map(str, (*group(record), record["defense"])))


def newest(records: Iterable[Record]) -> list[Record]:
    """The last record of each system; one that ships with the package gives way to any other."""
    last: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: (not r.get("reference"), str(r["created"]))):
        last[identity(record)] = record
    return list(last.values())


def digest(record: Record) -> str:
    """Names what a record says, whatever the day and the machine."""
    told = json.dumps({k: v for k, v in record.items() if k not in _UNTOLD}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def system_run(record: Record) -> Content:
    """The run of a system; its description comes once its cells have runs, see `system_note`."""
    metrics = record["metrics"]
    tags = (
        _axes(record)
        | _submitted(record)
        | {
            "level": "system",
            "flags": ", ".join(warnings(record)) or "none",
            "headline": threat(record["headline"]),
            "identity": identity(record),
            "content": digest(record),
            "created": str(record["created"]),
        }
    )
    params = {f"{p['name']}/{k}": str(v) for p in record.get("parts", []) for k, v in p["parameters"].items()}
    params |= {"inputs": str(record["inputs"]), "command": str(record["command"])}
    robust = metrics.get("robust_accuracy") or {}
    numbers = {name: percent((metrics.get(name) or {}).get("value")) for name in _PERCENT}
    numbers |= {f"robust_{end}": percent(robust.get(end)) for end in ("low", "high")}
    numbers |= {"robust_accuracy": percent(robust.get("value")), "auroc": _rounded(_area(metrics.get("auroc")), 3)}
    numbers |= {name: _rounded(record.get(name), 1) for name in ("seconds", "forwards", "backwards")}
    return Content(
        f"{short(record['defense'])} @ {record['dataset']}",
        {name: value[:TAG] for name, value in tags.items()},
        {_allowed(name): value[:PARAM] for name, value in params.items()},
        _finite(numbers),
        _curves(record),
    )


def _curves(record: Record) -> dict[str, list[tuple[int, float]]]:
    """The losses of the fits behind a system by step, under names such as `loss/fit cnn on digits`."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for fit in record.get("training", []):
        name = f"loss/{_allowed(short(str(fit['label']), 200))}"
        curves[name] = [(s, v) for s, v in zip(fit["steps"], fit["losses"], strict=True) if math.isfinite(v)]
    return curves


def cell_run(record: Record, cell: Record) -> Content:
    """The run of a cell."""
    axes = {name: str(cell[name]) for name in ("attack", "norm", "knowledge")} | {"epsilon": f"{cell['epsilon']:g}"}
    robust = cell["robust_accuracy"]
    numbers = {
        "cell_robust_accuracy": percent(robust["value"]),
        "cell_low": percent(robust["low"]),
        "cell_high": percent(robust["high"]),
        "cell_broken": cell["broken"],
        "cell_median_distance": cell["median_distance"],
        "cell_seconds": _rounded(cell["seconds"], 3),
        "cell_forwards": _rounded(cell["forwards"], 1),
        "cell_backwards": _rounded(cell["backwards"], 1),
    }
    tags = _axes(record) | axes | {"level": "cell"}
    name = f"{short(cell['attack'], 30)} {threat(cell)}"
    return Content(name, {k: v[:TAG] for k, v in tags.items()}, metrics=_finite(numbers))


def _submitted(record: Record) -> dict[str, str]:
    """What a submission's author says of it, and where its code ran, as tags; nothing for shipped defenses."""
    told = record.get("submission") or {}
    claims = {f"claimed_{name}": f"{100 * float(value):.1f} %" for name, value in (told.get("claimed") or {}).items()}
    words = {name: str(told[name]) for name in ("name", "paper", "isolation") if told.get(name)}
    authors = {"authors": ", ".join(map(str, told["authors"]))} if told.get("authors") else {}
    return {f"submission.{name}": value for name, value in (words | authors | claims).items()}


def _axes(record: Record) -> dict[str, str]:
    environment = record["environment"]
    names = ("suite", "grid", "size", "dataset", "victim", "defense", "seed", "track", "status")
    facts = {"commit": environment.get("commit", ""), "dirty": environment.get("dirty", ""), "key": record["id"]}
    facts["origin"] = "reference" if record.get("reference") else "own"
    return {name: str(value) for name, value in ({n: record[n] for n in names} | facts).items()} | {"superseded": "no"}


def warnings(record: Record) -> list[str]:
    """The names of the flags that fired and speak against the number."""
    return [flag["name"] for flag in record["flags"] if flag["fired"] and flag["severity"] == "warning"]


def percent(value: float | None) -> float | None:
    """A share in percent, to a tenth."""
    return None if value is None or math.isnan(value) else round(100 * value, 1)


def _area(metric: Record | None) -> float | None:
    return (metric or {}).get("value")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _finite(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(v) for name, v in numbers.items() if v is not None and math.isfinite(v)}


def threat(of: Record) -> str:
    """Norm, epsilon and knowledge in three words."""
    return f"{of['norm']} {of['epsilon']:g} {of['knowledge']}"


def _allowed(text: str) -> str:
    """A name that MLflow accepts."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in text)[:250]


def short(name: str, limit: int = 52) -> str:
    """A label that fits in a column: parameters give way first, then the end; the tags hold all of it."""
    if len(name) > limit:
        name = "".join(_outside(name))
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _outside(name: str) -> Iterator[str]:
    """The characters outside parentheses, what is inside as (…)."""
    depth = 0
    for character in name:
        if character == "(":
            depth += 1
            if depth == 1:
                yield "(…)"
        elif character == ")":
            depth = max(0, depth - 1)
        elif depth == 0:
            yield character
