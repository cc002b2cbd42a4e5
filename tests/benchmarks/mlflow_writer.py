"""The writer to MLflow beside a plain loop of its client: `python tests/benchmarks/mlflow_writer.py`.

Seconds a run in SQLite, both with as many tags, parameters and metrics a run: the loop is `create_run(tags=)`, one `log_batch`
and `set_terminated`. Rounds are interleaved, in one process, on stores of their own; the writer's time includes what the loop
does not do: the search for older runs, lock, artifacts (record and pictures), descriptions and superseding.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import track
from harness.tracked import Content, cell_run, system_run

Record = dict[str, Any]
PIXELS = base64.b64encode(bytes(700)).decode()  # as long as a small picture


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def record(number: int, cells: int, pictures: int) -> Record:
    """A system's record of the shape that the harness writes."""
    axes = {"suite": "made-1", "grid": "made", "size": "official", "dataset": "digits", "victim": "cnn", "seed": 0}
    costs = {"seconds": 1.25, "forwards": 40.0, "backwards": 39.0}
    threats = [{"norm": "linf", "epsilon": (i + 1) / 100, "knowledge": "adaptive"} for i in range(cells)]
    kinds = ("clean", "adversarial", "difference")
    return {
        "schema": 1,
        "id": f"{number:016x}",
        "created": "2026-01-01T00:00:00Z",
        **axes,
        "defense": f"gaussian_blur(sigma={number})",
        "track": "plain",
        "status": "complete",
        "complete": True,
        "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"},
        "metrics": {name: share(0.5) for name in ("clean_accuracy", "robust_accuracy", "auroc", "false_positive_rate")},
        "flags": [
            {"name": f"flag-{i}", "fired": i == 0, "severity": "warning", "text": "as it should be"} for i in range(8)
        ],
        "cells": [
            {"attack": "pgd(steps=40)", "robust_accuracy": share(0.4), "broken": 5, "median_distance": 0.1}
            | threat
            | costs
            for threat in threats
        ],
        "parts": [{"name": "gaussian_blur", "parameters": {"sigma": number, "size": 3}}],
        "gallery": [{"index": i} | {f"{kind}_png": PIXELS for kind in kinds} for i in range(pictures)],
        **{"inputs": 100, "command": "harness run made", "failed": [], **costs},
        "environment": {"commit": "0123456789abcdef", "dirty": False},
    }


class Plain:
    """The loop that anybody would write: a run a system and a run a cell, batched."""

    def __init__(self, home: Path) -> None:
        self.server = track.client(home)
        self.where = track.experiment(self.server, "made-1", home)

    def write(self, record: Record) -> None:
        parent = self._run(system_run(record), {"complete": "yes", "mlflow.note.content": "", "writer": ""})
        for cell in record["cells"]:
            self._run(cell_run(record, cell), {"mlflow.parentRunId": parent})

    def _run(self, content: Content, tags: dict[str, str]) -> str:
        from mlflow.entities import Metric, Param

        run = self.server.create_run(self.where, tags=content.tags | tags, run_name=content.name).info.run_id
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in content.metrics.items()]
        self.server.log_batch(run, metrics, [Param(name, value) for name, value in content.params.items()])
        self.server.set_terminated(run)
        return str(run)


class Ours:
    """This project's writer, records on disk and all."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.tracker = track.Tracker(home, track.client(home))
        (home / "records").mkdir(parents=True, exist_ok=True)

    def save(self, record: Record) -> None:
        (self.home / "records" / f"{record['id']}.json").write_text(json.dumps(record), encoding="utf-8")

    def write(self, record: Record) -> None:
        if not self.tracker.write(record):
            raise RuntimeError("the writer found a new record written already")


def race(plain: Plain, ours: Ours, records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Seconds a run of each, record by record, the order of the two changing from one to the next."""
    times: tuple[list[float], list[float]] = ([], [])
    for number, made in enumerate(records):
        ours.save(made)
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            (plain, ours)[which].write(made)
            times[which].append((time.perf_counter() - start) / (1 + len(made["cells"])))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--cells", type=int, default=20, help="a system")
    parser.add_argument("--pictures", type=int, default=8, help="a system, three files each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = Plain(Path(folder) / "plain"), Ours(Path(folder) / "ours")
        race(plain, ours, [record(10_000, given.cells, given.pictures)])  # tables are made, caches are warm
        made = [record(number, given.cells, given.pictures) for number in range(given.systems)]
        loop, writer = race(plain, ours, made)
        start = time.perf_counter()
        ours.tracker.publish(made)
        published = time.perf_counter() - start
    ratios = [b / a for a, b in zip(loop, writer, strict=True)]
    print(f"{given.systems} systems, {given.cells} cells each, {given.pictures} pictures each; medians over systems\n")
    print(f"{'':24} ms a run   slowest")
    for name, times in (("plain batched client", loop), ("harness.track", writer)):
        print(f"{name:24} {1000 * statistics.median(times):8.1f} {1000 * max(times):9.1f}")
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"\nratio {statistics.median(ratios):.2f} (quartiles {low:.2f} – {high:.2f}); goal 1.3")
    print(f"ranks, views and description of all, once: {published:.2f} s")


if __name__ == "__main__":
    main()
