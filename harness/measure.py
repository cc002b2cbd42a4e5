"""Tasks of the kind `measure`: what a system's network is like beside its answers, as a small table for its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data import Data, key_of
from harness.loading import Loader, required_methods, seeded
from harness.plan import Plan, Task
from harness.spec import build, label
from harness.store import Store
from harness.system import ContractError
from harness.types import Skip


def measure(task: Task, loader: Loader) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the classifier of a pipeline: rows, or the reason why there are none."""
    assert task.part is not None
    assert task.pipeline is not None
    required_methods("measure", task.part.spec.name)
    network = loader.classifier(task.pipeline)
    data = Data(task.dataset, key_of(task.dataset), loader.device)
    with seeded(task.seed):
        found = build(task.part.spec).measure(network, data, **loader.inputs(task.part))
    if isinstance(found, Skip):
        return {"rows": [], "missing": found.reason}, {}
    return {"rows": rows_of(found, task.part.spec.name)}, {}


def rows_of(found: Any, name: str) -> list[dict[str, Any]]:
    """The rows of a measure; raises ContractError unless each is a mapping with a name and a value."""
    if not isinstance(found, list | tuple) or not all(isinstance(row, Mapping) for row in found):
        raise ContractError(f"{name}: measure gives {type(found).__name__}; expected a list of mappings, or a Skip")
    for row in found:
        if not isinstance(row.get("name"), str) or not isinstance(row.get("value"), int | float):
            raise ContractError(f"{name}: a row has a name and a value (low and high beside it), not {dict(row)!r:.80}")
    return [dict(row) for row in found]


def measured(plan: Plan, store: Store, system: Any, failures: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What was measured of a system's network, by the label of the measure: its rows, and why there are none."""
    found: dict[str, dict[str, Any]] = {}
    for spec, task in plan.measured.get(system, {}).items():
        if isinstance(task, Skip):
            found[label(spec)] = {"measure": spec.name, "rows": [], "missing": task.reason}
        elif store.record(task.key) is None:
            failure = failures.get(task.key) or (store.failure(task.key) or {}).get("error", "not computed")
            found[label(spec)] = {"measure": spec.name, "rows": [], "missing": str(failure)}
        else:
            found[label(spec)] = {"measure": spec.name, "missing": "", **store.get(task.key)}
    return found
