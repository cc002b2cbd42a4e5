"""Score a defense: the contract first, then the official grid with it beside the undefended victim, then its rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import api, check
from harness.data import test_size
from harness.grid import Grid
from harness.rank import group, ranked
from harness.spec import label, parse

CONFIRMED = 3  # the first ranks, scored again on other images


def submit(
    defense: str,
    *,
    grid: str = "official",
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    home: str | Path | None = None,
    **options: Any,
) -> tuple[dict[str, Any], api.Result | None]:
    """Verdict (scored, rejected or failed) with its reason, rank and figures; and the run behind it, if there was one.

    Raises FileNotFoundError or ValueError if the file, the class or the grid cannot be read.
    """
    (spec,) = parse("defense", defense)
    name = label(spec)
    api.home_folder(home)
    beside = ["none", "adversarial_training"] if size in (None, "official") else ["none"]
    read = api.read_grid(grid, size=size, changes={"defenses": [*beside, defense], **dict(changes or {})})
    broken = [finding for finding in check.check(defense) if not finding.passed]
    if broken:
        return _verdict(name, "rejected", "; ".join(f"{f.test}: {f.message}" for f in broken)), None
    result = api.run(read, home=home, **options)
    record = next((r for r in result.records if r["defense"] == name), None)
    if record is None or not record["complete"]:
        reason = record["failed"][0]["error"] if record and record["failed"] else "no record was made"
        return _verdict(name, "failed", reason), result
    verdict = _scored(name, record, read)
    more = min(test_size(dataset) for dataset in read.datasets) > read.first + read.inputs
    if read.size == "official" and verdict["rank"] <= CONFIRMED and more:
        verdict["confirmation"] = _confirmed(name, read, home, options)
    return verdict, result


def _confirmed(name: str, read: Grid, home: str | Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same on as many other test images, as a suite of its own: what was tuned on the public ones does not help there."""
    other = replace(read, suite=f"{read.suite}-confirmation", first=read.first + read.inputs)
    result = api.run(other, home=home, **options)
    record = next((r for r in result.records if r["defense"] == name), None)
    robust = (record or {"metrics": {}})["metrics"].get("robust_accuracy")
    return {"suite": other.suite, "first": other.first, "inputs": other.inputs, "robust_accuracy": robust}


def _verdict(name: str, verdict: str, reason: str) -> dict[str, Any]:
    empty = dict.fromkeys(("rank", "of", "clean_accuracy", "robust_accuracy"))
    return {"name": name, "verdict": verdict, "reason": reason, **empty, "flags": [], "run_id": None}


def _scored(name: str, record: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
    """The figures with the rank among all records of the same group in the run folder."""
    from harness.track import records_of, run_id
    from harness.tracked import identity, newest

    home = api.home_folder()
    rivals = [r for r in newest(records_of(home)) if identity(r) != identity(record)]
    peers = [record, *(r for r in rivals if group(r) == group(record) and r["complete"])]
    place = next(p for p in ranked(peers) if p.record["id"] == record["id"])
    metrics = record["metrics"]
    return {
        "name": name,
        "verdict": "scored",
        "reason": grid.note,
        "rank": place.rank,
        "of": len(peers),
        "clean_accuracy": metrics["clean_accuracy"]["value"],
        "robust_accuracy": metrics["robust_accuracy"]["value"],
        "robust_low": metrics["robust_accuracy"]["low"],
        "robust_high": metrics["robust_accuracy"]["high"],
        "flags": [flag["name"] for flag in record["flags"] if flag["fired"]],
        "run_id": run_id(home, record),
    }
