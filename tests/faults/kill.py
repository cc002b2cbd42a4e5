"""Kills a run again and again and compares what is left with a run that nobody touched.

    python tests/faults/kill.py --times 20

The grid runs to its end once as reference. Then, in a fresh run folder, the same command is started and its whole process
group ended by SIGKILL at a random moment, as many times as asked, and at last left alone: a random share of a second after
a random number of new results, so that the moments fall all over the work. Compared are the hashes of all results by key.
A watcher in this process notes every record that appears in the store; each is a file of its own that is renamed, so that
a task computed although its result stood shows as a second file under one key. Half-written results are records whose data
file does not have the hash that the record names.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.store import Store


@dataclass
class Watcher:
    """Which files have stood under the name of each record: more than one means that a task was computed twice."""

    store: Path
    seen: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Note the records that stand now; a second one under a key is another file, as each is written anew and renamed."""
        for path in self.store.glob("*/*.json"):
            if path.name.startswith(".") or path.name.endswith(".data.json") or path.parent.name == "failed":
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            self.seen.setdefault(path.stem, set()).add((stat.st_ino, stat.st_mtime_ns))

    def watch(self) -> None:
        """Look until told to stop."""
        while not self.stop.wait(0.02):
            self.look()

    @property
    def twice(self) -> list[str]:
        """The keys computed more than once."""
        return sorted(key for key, files in self.seen.items() if len(files) > 1)


def command(arguments: argparse.Namespace, home: Path) -> list[str]:
    """The command that is killed and repeated."""
    changes = [part for text in arguments.set for part in ("--set", text)]
    tail = ["--home", str(home), "--executor", arguments.executor, "--json", "--no-track"]
    return [sys.executable, "-m", "harness", "run", arguments.grid, *changes, *tail]


def killed(line: list[str], watcher: Watcher, *, more: int, delay: float) -> bool:
    """Start the command, end its process group a moment after `more` new results; False if it was done before."""
    before = len(watcher.seen)
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and len(watcher.seen) < before + more:
        time.sleep(0.005)
    try:
        process.wait(delay)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def finished(line: list[str]) -> tuple[dict[str, int], float]:
    """Run the command to its end: what became of the tasks, and the seconds."""
    start = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        raise SystemExit(f"{' '.join(line)}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)["tasks"], time.perf_counter() - start


def results(store: Store) -> tuple[dict[str, str], int]:
    """The hash of each result by key, and how many results are half-written."""
    hashes, broken = {}, 0
    for path in sorted(store.folder.glob("*/*.json")):
        if path.name.startswith(".") or path.name.endswith(".data.json") or path.parent.name == "failed":
            continue
        record = store.record(path.stem)
        if record is None or not store.intact(path.stem, record):
            broken += 1
        else:
            hashes[f"{record['kind']} {path.stem}"] = record["sha256"]
    return hashes, broken


def main() -> int:
    """Print a table; status 0 if nothing was lost, computed twice or half-written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="how often it is killed")
    parser.add_argument("--grid", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=YAML")
    parser.add_argument("--executor", default="processes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harness-kill-") as folder:
        return compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> int:
    """Reference, kills, end, table."""
    reference, alone = finished(command(arguments, folder / "reference"))
    print(f"reference: {reference['total']} tasks in {alone:.0f} s, {reference['failed']} failed", flush=True)
    line, watcher = command(arguments, folder / "killed"), Watcher(folder / "killed" / "store")
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    moments, kills, half = random.Random(arguments.seed), 0, 0
    for _ in range(arguments.times):
        more = moments.randint(0, max(1, reference["total"] // arguments.times))
        if not killed(line, watcher, more=more, delay=moments.uniform(0, 0.5)):
            break
        kills += 1
        standing, broken = results(Store(folder / "killed" / "store"))
        half += broken
        print(f"killed after {more:3} more: {len(standing)} results stand, {broken} half-written", flush=True)
    last, _ = finished(line)
    watcher.stop.set()
    thread.join()
    watcher.look()
    return report(
        results(Store(folder / "reference" / "store")),
        results(Store(folder / "killed" / "store")),
        watcher,
        kills,
        half,
        last,
    )


def report(
    reference: tuple[dict[str, str], int],
    after: tuple[dict[str, str], int],
    watcher: Watcher,
    kills: int,
    half: int,
    last: dict[str, int],
) -> int:
    """The table, and the exit status."""
    expected, found = reference[0], after[0]
    different = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    observed = [key for key in different if key.startswith("observe ")]
    rows = {
        "kills": kills,
        "tasks": last["total"],
        "tasks reused by the last run": last["reused"],
        "tasks failed": last["failed"],
        "results that differ from the reference": len(different),
        "outcomes that differ from the reference": len(observed),
        "half-written results taken for results": half + after[1],
        "tasks computed twice": len(watcher.twice),
    }
    print()
    for name, value in rows.items():
        print(f"{name:42} {value:6}")
    return 0 if not (different or half or after[1] or watcher.twice or last["failed"]) else 1


if __name__ == "__main__":
    sys.exit(main())
