"""Score an attack, or adversarial examples: what they break of ranked systems that nobody broke before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness import api
from harness.contributions import contributions
from harness.data import Data, key_of
from harness.found import LONGEST, keep, nameable
from harness.grid import Grid, norms_of
from harness.isolation.errors import ENDINGS
from harness.rank import counted, failures, robustness
from harness.spec import build, label, parse
from harness.store import store_of
from harness.submit import Refused, Rules, admitted
from harness.types import Spec


def submit_attack(
    attack: str,
    *,
    grid: str = "official",
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    home: str | Path | None = None,
    trusted: bool = False,
    require_isolation: bool = False,
    limits: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], api.Result | None]:
    """Verdict on an attack and, for each system of the grid, its robust accuracy with and without it; and the run behind.

    Its inputs count in the worst case of every system as any attack's do. Raises as `submit` does.
    """

    def reads() -> Grid:
        return api.read_grid(grid, size=size, changes=changes)

    rules = Rules(trusted, require_isolation, dict(limits or {}))
    try:
        entry = admitted("attack", attack, rules, api.home_folder(home), reads)
    except Refused as refused:
        return _verdict(refused.name, refused.verdict, str(refused)), None
    read = replace(reads(), isolation=entry.isolation)
    return _scored(entry.spec, read, with_attack(read, entry.spec), home, options)


def submit_examples(
    system: str,
    file: str | Path,
    *,
    by: str = "",
    grid: str = "official",
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    home: str | Path | None = None,
    **options: Any,
) -> tuple[dict[str, Any], api.Result | None]:
    """Verdict on adversarial examples for a system, a line of the grid's defenses; they are judged as an attack's are.

    file: safetensors with `x` (N, *S). Raises ValueError or FileNotFoundError for what cannot be read.
    """
    path = Path(file).expanduser().resolve()
    if not nameable(by):
        raise ValueError(f"by is one line of at most {LONGEST} letters that can be printed, not {by[:80]!r}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    import yaml

    read = api.read_grid(grid, size=size, changes={"defenses": [yaml.safe_load(system)], **dict(changes or {})})
    (spec,) = parse("attack", {"given_examples": {"file": str(path), "by": by}})
    for dataset in read.datasets:
        build(spec).examples(tuple(Data(dataset, key_of(dataset), "cpu").split("test").x.shape[1:]))
    return _scored(spec, read, with_attack(read, spec, norm=read.headline.norm), home, options)


def with_attack(grid: Grid, attack: Spec, *, norm: str | None = None) -> Grid:
    """The grid with an attack after those of each adaptive threat in whose norm it works (of one norm only).

    Raises ValueError if there is none.
    """
    norms = [n for n in norms_of(attack) if norm in (None, n)]
    threats, told = [], 0
    for threat in grid.threats:
        fits = threat.norm in norms and "adaptive" in threat.knowledge
        told += fits
        threats.append(replace(threat, attacks=(*(threat.attacks or grid.attacks), attack)) if fits else threat)
    if not told:
        known = ", ".join(dict.fromkeys(t.norm for t in grid.threats if "adaptive" in t.knowledge))
        raise ValueError(
            f"{label(attack)} works in {', '.join(norms)}, the adaptive threats of {grid.name} are in {known}"
        )
    return replace(grid, threats=tuple(threats))


def _scored(
    spec: Spec, without: Grid, grid: Grid, home: str | Path | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], api.Result]:
    result = api.run(grid, home=home, **options)
    name = label(spec)
    failed = [f["error"] for record in result.records for f in record["failed"] if name in f["task"]]
    if failed:
        kind, _, message = str(failed[0]).removeprefix("needs a task that failed: ").partition(": ")
        verdict = ENDINGS.get(kind, "rejected" if kind == "ContractError" else "failed")
        return _verdict(name, verdict, message if kind in ENDINGS else str(failed[0])), result
    folder = api.home_folder(home)
    known = _known(without, result.grid, folder, home, options)
    kept = keep(api.plan_of(result.grid), spec, store_of(folder, options.get("store")), folder)
    systems = [_effect(name, record, grid, folder, known) for record in result.records if record["complete"]]
    answer = _verdict(name, "scored", grid.note) | {"systems": systems, "kept": [str(file) for file in kept]}
    return answer | {"wins": sum(row["wins"] for row in systems)}, result


def _known(
    without: Grid, grid: Grid, folder: Path, home: str | Path | None, options: Mapping[str, Any]
) -> dict[tuple[str, ...], set[int]]:
    """Of each system, the inputs that what is kept of others breaks where the attack is not there to break them first."""
    others = set(grid.found)
    if not grid.cascade or not others:
        return {}
    from harness.records import outcomes_of

    names = {label(found.attack) for found in others}
    known: dict[tuple[str, ...], set[int]] = {}
    for record in api.run(without, home=home, **options).records:
        outcomes = outcomes_of(folder / "records", str(record["id"]))
        rows = outcomes[outcomes["attack"].isin(names) & counted(outcomes, grid.headline) & failures(outcomes)]
        known[record["dataset"], record["victim"], record["defense"]] = {int(i) for i in rows["index"].unique()}
    return known


def _effect(
    name: str, record: Mapping[str, Any], grid: Grid, home: Path, known: Mapping[tuple[str, ...], set[int]]
) -> dict[str, Any]:
    """Robust accuracy of a system at the headline with the attack and without it, and the inputs that only it broke."""
    from harness.records import outcomes_of

    outcomes = outcomes_of(home / "records", str(record["id"]))
    broken = known.get((record["dataset"], record["victim"], record["defense"]), set())
    others = outcomes[outcomes["attack"] != name]
    again = outcomes[(outcomes["attack"] == name) & outcomes["index"].isin(broken)].assign(attack="kept")
    outcomes = pd.concat([outcomes, again], ignore_index=True)
    without = robustness(pd.concat([others, again], ignore_index=True), grid.headline)
    found = contributions(outcomes).get((name, grid.headline), {"right": 0, "missed": 0, "wins": 0})
    return {
        "dataset": record["dataset"],
        "victim": record["victim"],
        "defense": record["defense"],
        "before": without.interval.value,
        "after": record["metrics"]["robust_accuracy"]["value"],
        "wins": found["wins"],
        "missed": found["missed"],
        "tried": _tried(outcomes, name),
    }


def _tried(outcomes: pd.DataFrame, name: str) -> int:
    """Inputs that the attack was given."""
    rows = outcomes[(outcomes["attack"] == name) & outcomes["attacked"].astype(bool)]
    return int(rows["index"].nunique())


def _verdict(name: str, verdict: str, reason: str) -> dict[str, Any]:
    empty: Sequence[Any] = []
    return {"name": name, "verdict": verdict, "reason": reason, "wins": 0, "systems": list(empty)}
