"""What the coordinator costs at scale, with workers simulated: `python tests/benchmarks/coordinator.py`.

The scheduler, the store and the claims are the real ones; only the workers are not: 200 of them, each of which takes a task
for so many virtual seconds (log-normal, fixed seed) and then writes a small result to the store. The clock of the simulation
runs on while the coordinator works, and not while it waits or a worker writes, so that workers who wait for the coordinator
lengthen the run. The tasks are those of a grid: systems with a fit, a calibration and a probe each, and shards of attacks that
are crafted and observed. Printed are the coordinator's own seconds, the longest work of each worker as if it cost nothing, and
the share by which the run is longer than that; then the same for a second run, which finds everything standing.

With --latency each request of the coordinator to the store takes so many milliseconds more, as to a bucket.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import pstats
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import execute
from harness.execute import Progress
from harness.places import AT_A_TIME, Folder, Place, Remote
from harness.plan import Task
from harness.standing import Standing
from harness.store import Store, store_of
from harness.types import Spec
from harness.workers import Ended

DIGITS = Spec.of("dataset", "digits")


def key(*parts: object) -> str:
    """A key as the plan's are: 32 digits, spread over the folders."""
    import hashlib

    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def grid(count: int, systems: int) -> dict[str, Task]:
    """So many tasks of so many systems, in an order in which each comes after what it consumes."""
    tasks: dict[str, Task] = {}

    def add(kind: str, system: int, number: int, *inputs: str) -> str:
        made = key(kind, system, number)
        tasks[made] = Task(kind, made, f"{kind} {system} {number}", DIGITS, inputs)
        return made

    victim = add("fit", -1, 0)
    for system in range(systems):
        states = (victim, add("fit", system, 0, victim))
        states = (*states, add("calibrate", system, 0, *states))
        probe = add("probe", system, 0, *states)
        for number in range((count // systems - 3) // 2):
            craft = add("craft", system, number, *states, probe)
            add("observe", system, number, *states, craft)
    return tasks


class Slow(Remote):
    """A folder each of whose requests takes a while, as a bucket's do; several may be asked side by side."""

    def __init__(self, folder: Folder, seconds: float) -> None:
        super().__init__(folder.address, folder, folder.root)
        self.folder, self.seconds = folder, seconds

    def _slowly(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        time.sleep(self.seconds)
        return ask(*arguments)

    def read(self, name: str) -> bytes:
        return bytes(self._slowly(self.folder.read, name))

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        several = list(names)
        time.sleep(self.seconds * -(-len(several) // AT_A_TIME))
        return self.folder.read_many(several)

    def write(self, name: str, content: bytes) -> None:
        self._slowly(self.folder.write, name, content)

    def create(self, name: str, content: bytes) -> bool:
        return bool(self._slowly(self.folder.create, name, content))

    def delete(self, name: str) -> None:
        self._slowly(self.folder.delete, name)

    def times(self, folder: str) -> dict[str, float]:
        return dict(self._slowly(self.folder.times, folder))


@dataclass(frozen=True)
class Far(Store):
    """A store whose place is slow."""

    seconds: float = 0.0

    @property
    def place(self) -> Place:
        return Slow(Folder(self.folder), self.seconds)


@dataclass
class Simulated:
    """Workers who take virtual seconds; `now` is the simulation's clock, `busy` the coordinator's part of it."""

    store: Store
    seconds: Mapping[str, float]
    slots: int
    device: str = "cpu"
    now: float = 0.0
    busy: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    running: list[tuple[float, str, Task]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)

    def send(self, task: Task) -> None:
        """Start a task."""
        self.worked()
        heapq.heappush(self.running, (self.now + self.seconds[task.key], task.key, task))

    def next(self, seconds: float | None = None) -> Ended | None:
        """Let the next task end."""
        self.worked()
        if seconds == 0 and self.running[0][0] > self.now:
            return None
        end, _, task = heapq.heappop(self.running)
        self.now = max(self.now, end)
        consumed = {above: (self.store.record(above) or {})["sha256"] for above in task.inputs}
        self.store.put(task.key, {"made": task.label}, {"kind": task.kind, "consumed": consumed})
        self.since = time.perf_counter()
        return task, None, 0.0

    def worked(self) -> None:
        """Let the clock run on by what the coordinator took."""
        spent = time.perf_counter() - self.since
        self.now += spent
        self.busy += spent
        self.since = time.perf_counter()


def ideal(tasks: Mapping[str, Task], seconds: Mapping[str, float], slots: int) -> float:
    """The seconds of the same schedule with a coordinator that costs nothing."""
    unmet = {name: len(task.inputs) for name, task in tasks.items()}
    below: dict[str, list[str]] = {}
    for name, task in tasks.items():
        for above in task.inputs:
            below.setdefault(above, []).append(name)
    place = {name: number for number, name in enumerate(tasks)}
    names = list(tasks)
    ready = [place[name] for name, number in unmet.items() if number == 0]
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            name = names[heapq.heappop(ready)]
            heapq.heappush(running, (now + seconds[name], name))
        now, name = heapq.heappop(running)
        for after in below.get(name, ()):
            unmet[after] -= 1
            if unmet[after] == 0:
                heapq.heappush(ready, place[after])
    return now


def simulated(tasks: Mapping[str, Task], store: Store, seconds: Mapping[str, float], slots: int) -> str:
    """Run it; a line of figures."""
    progress = Progress(total=len(tasks))
    crew = Simulated(Store(store.folder, store.url), seconds, slots)
    execute._scheduled(tasks, Standing(store, tasks), crew, progress, lambda task: None)
    crew.worked()
    text = f"{progress.computed} computed, {progress.reused} reused: coordinator {crew.busy:.2f} s, "
    text += f"{1000 * crew.busy / len(tasks):.2f} ms a task"
    if progress.computed:
        alone = ideal(tasks, seconds, slots)
        text += (
            f"; run of {crew.now:.1f} s, {alone:.1f} s with a coordinator that costs nothing: "
            f"{100 * (crew.now / alone - 1):.2f} % longer; coordinator busy {100 * crew.busy / crew.now:.2f} % of it"
        )
    return text


def main() -> int:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--systems", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a task, in the mean")
    parser.add_argument("--store", help="a folder or URL (default: a temporary folder)")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds of a request (see above)")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    moments = random.Random(0)
    tasks = grid(given.tasks, given.systems)
    seconds = {name: given.seconds * moments.lognormvariate(-0.5, 1.0) for name in tasks}  # mean 1
    with tempfile.TemporaryDirectory(prefix="harness-coordinator-") as name:
        near = store_of(Path(name), given.store)
        store = Far(near.folder, seconds=given.latency / 1000) if given.latency else near
        print(
            f"{len(tasks)} tasks of {given.seconds:g} s over {given.workers} workers; {store.place.address}", flush=True
        )
        profile = cProfile.Profile()
        for _ in range(2):
            if given.profile:
                profile.enable()
            print(simulated(tasks, store, seconds, given.workers), flush=True)
            profile.disable()
            if given.profile:
                pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return 0


if __name__ == "__main__":
    sys.exit(main())
