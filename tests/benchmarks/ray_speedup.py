"""A grid on one process and on Ray with one and two workers, and with a worker killed: `python tests/benchmarks/ray_speedup.py`.

Each run is a process of its own with a run folder of its own. Printed are the seconds of the run without and with the start
of Ray and its workers' imports, the speed-up against one worker, and whether the outcomes are those of the serial run: the
hash of each result by key, and the records but for what was measured (seconds, dates, machine).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from harness import api
from harness.plan import Plan
from harness.store import Store

MEASURED = ("second", "created", "time", "overhead", "machine", "threads", "environment", "git", "dirty", "memory")


def outcome(value: Any) -> Any:
    """A record without what was measured."""
    if isinstance(value, dict):
        return {k: outcome(v) for k, v in value.items() if not any(word in k for word in MEASURED)}
    return [outcome(v) for v in value] if isinstance(value, list) else value


def child(given: argparse.Namespace) -> int:
    """One run, here: prints its seconds and the number of its tasks."""
    begin = time.perf_counter()
    grid = api.read_grid(given.grid, size=given.size, changes=json.loads(given.changes))
    if given.child == "serial":
        result = api.run(grid, home=given.home, executor="serial", track=False)
    else:
        import ray

        ray.init("local", num_cpus=int(given.child), log_to_driver=False, include_dashboard=False)
        result = api.run(grid, home=given.home, executor="ray", track=False)
    whole = time.perf_counter() - begin
    progress = result.progress
    counts = {"computed": progress.computed, "failed": len(progress.failed)}
    print(json.dumps({"seconds": progress.seconds, "whole": whole} | counts))
    return 0


def run(given: argparse.Namespace, workers: str, home: Path, *, kill: bool = False) -> tuple[dict[str, Any], int]:
    """A run in a process of its own, and how many of its workers were killed."""
    line = [sys.executable, __file__, "--child", workers, "--home", str(home), "--grid", given.grid]
    line += ["--size", given.size, "--changes", json.dumps(changes(given))]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    killed: list[int] = []
    if kill:
        threading.Thread(target=killer, args=(process, home / "store", killed), daemon=True).start()
    out, _ = process.communicate()
    told = [line for line in out.splitlines() if line.startswith('{"seconds"')]
    if not told:
        raise SystemExit(f"the run with {workers} ended with {process.returncode}: {out[-500:]}")
    return json.loads(told[-1]), len(killed)


def killer(process: subprocess.Popen[str], store: Path, killed: list[int]) -> None:
    """End two workers in their tasks, one after ten results, the other after twenty."""
    for count in (10, 20):
        while len(list(store.glob("*/*"))) < 2 * count and process.poll() is None:
            time.sleep(0.05)
        busy = []
        while not busy and process.poll() is None:
            busy = [n for n, line in below(process.pid) if line.startswith("ray::_elsewhere")]
        for number in busy[:1]:
            os.kill(number, signal.SIGKILL)
            killed.append(number)


def below(process: int) -> list[tuple[int, str]]:
    """The processes of the same Ray, by the session of the one that started it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parents = ancestors(int(folder.name))
        except (OSError, UnicodeDecodeError):
            continue
        if process in parents:
            found.append((int(folder.name), line))
    return found


def ancestors(process: int) -> list[int]:
    """The processes above one."""
    found = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found


def changes(given: argparse.Namespace) -> dict[str, Any]:
    import yaml

    return {name: yaml.safe_load(text) for name, _, text in (each.partition("=") for each in given.set)}


def chain(plan: Plan, store: Store) -> float:
    """Seconds of the longest chain of tasks that wait for one another: no number of workers takes less."""
    facts, ends = store.records(list(plan.tasks)), dict[str, float]()
    for key, task in plan.tasks.items():
        before = max((ends.get(name, 0.0) for name in task.inputs), default=0.0)
        ends[key] = before + float(facts[key]["facts"]["seconds"])
    return max(ends.values())


def found(home: Path, keys: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The hash of each result, and the records but for what was measured."""
    hashes = {key: record["sha256"] for key, record in Store(home / "store").records(keys).items()}
    records = {path.name: outcome(json.loads(path.read_text())) for path in (home / "records").glob("*.json")}
    return hashes, records


def main() -> int:
    """Status 0 if all outcomes are identical."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="quick")
    parser.add_argument("--size", default="smoke")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=YAML")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--home", help=argparse.SUPPRESS)
    parser.add_argument("--changes", default="{}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.child:
        return child(given)
    plan = api.plan_of(api.read_grid(given.grid, size=given.size, changes=changes(given)))
    keys, wrong = list(plan.tasks), 0
    with tempfile.TemporaryDirectory(prefix="harness-ray-") as name:
        folder, base = Path(name), 0.0
        print(f"{given.grid} {given.size}, {len(keys)} tasks, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for title, workers, kill in (
            ("serial", "serial", False),
            ("Ray, 1 worker", "1", False),
            ("Ray, 2 workers", "2", False),
            ("Ray, 2 workers, 2 killed", "2", True),
        ):
            home = folder / title.replace(" ", "-")
            told, killed = run(given, workers, home, kill=kill)
            if workers == "serial":
                print(f"one after the other at the least: {chain(plan, Store(home / 'store')):.1f} s", flush=True)
            if title == "Ray, 1 worker":
                base = told["seconds"]
            here, there = found(folder / "serial", keys), found(home, keys)
            same = here == there and len(there[0]) == len(keys)
            wrong += not same
            speed = f", {base / told['seconds']:.2f} times as fast as one worker" if base else ""
            lost = f", {killed} killed" if kill else ""
            print(
                f"{title:25} {told['seconds']:6.1f} s ({told['whole']:.1f} s with the start){speed}{lost}; "
                f"{told['computed']} computed, {told['failed']} failed; outcomes "
                f"{'identical to serial' if same else differing(here, there)}",
                flush=True,
            )
    return int(bool(wrong))


def differing(here: tuple[dict[str, Any], ...], there: tuple[dict[str, Any], ...]) -> str:
    """How many results and records differ."""
    counts = [sum(a.get(key) != b.get(key) for key in a.keys() | b.keys()) for a, b in zip(here, there, strict=True)]
    return f"DIFFER: {counts[0]} results, {counts[1]} records"


if __name__ == "__main__":
    sys.exit(main())
