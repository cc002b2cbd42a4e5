"""Perform what the store lacks, one task after another or on a Ray cluster; resumable at any moment."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.attempt import attempt as attempt
from harness.claims import Claims
from harness.loading import Loader
from harness.plan import Task
from harness.progress import say, shown
from harness.store import Store
from harness.workers import Cluster, Crew, Ended, Processes

PAUSE = 0.5  # seconds before tasks that others have claimed are looked at again
NEWS = 5.0  # seconds after which more workers are looked for


@dataclass
class Progress:
    """What became of the tasks: how many stood, which were made, which failed and why."""

    total: int = 0
    reused: int = 0
    made: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    overhead: float = 0.0

    @property
    def computed(self) -> int:
        """The number of tasks made in this run."""
        return len(self.made)


def run(
    tasks: Iterable[Task],
    store: Store,
    *,
    device: str = "cpu",
    executor: str = "serial",
    finished: Callable[[Task, Progress], None] = lambda task, progress: None,
    title: str = "tasks",
) -> Progress:
    """Perform every task that is not done, in order; a failed one is recorded, those that need it fail too, the others go on."""
    if executor not in EXECUTORS:
        raise ValueError(f"executor is one of {', '.join(EXECUTORS)}, not '{executor}'")
    if executor != "serial" and not store.place.shared:
        raise ValueError(f"the store {store.place.address} is seen by this process only; take the executor serial")
    waiting = {task.key: task for task in tasks}
    progress = Progress(total=len(waiting))
    start = time.perf_counter()
    with shown() as bars:
        bar = bars.add_task(title, total=len(waiting))

        def ended(task: Task) -> None:
            finished(task, progress)
            bars.advance(bar)

        EXECUTORS[executor](waiting, store, device, progress, ended)
    progress.seconds = time.perf_counter() - start
    return progress


def _serial(
    tasks: Mapping[str, Task],
    store: Store,
    device: str,
    progress: Progress,
    ended: Callable[[Task], None],
    standing: Standing | None = None,
) -> None:
    _one_thread(device)
    _scheduled(tasks, standing or Standing(store, tasks), _Here(Loader(store, device), tasks), progress, ended)


def _one_thread(device: str) -> None:
    """The same numbers in this process as in a worker."""
    if not device.startswith("cuda"):
        import torch

        torch.set_num_threads(1)


class Standing:
    """What the store was seen to hold of the tasks: read together once, and again where something may have changed.

    Of each result its hash and those of what it consumed; None where none stood.
    """

    def __init__(
        self, store: Store, tasks: Mapping[str, Task], records: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.store = store
        self.known: dict[str, tuple[str, dict[str, str]] | None] = dict.fromkeys(tasks)
        read = store.records(tasks) if records is None else records
        self.known |= {key: _seen(record) for key, record in read.items()}

    def done(self, key: str) -> bool:
        """Whether a result stands, made from the results that stand under the keys it consumed, as far as is known."""
        found = self._look(key)
        above = {name: self._look(name) for name in found[1]} if found else {}
        return found is not None and all(made is not None and made[0] == found[1][name] for name, made in above.items())

    def forget(self, *keys: str) -> None:
        """These may have changed."""
        for key in keys:
            self.known.pop(key, None)

    def _look(self, key: str) -> tuple[str, dict[str, str]] | None:
        if key not in self.known:
            record = self.store.record(key)
            self.known[key] = _seen(record) if record else None
        return self.known[key]


def _seen(record: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    return record["sha256"], record.get("consumed", {})


def _settled(task: Task, standing: Standing, progress: Progress) -> bool:
    """Whether nothing is to be computed: a task that it needs failed, or its result stands."""
    blocked = next((key for key in task.inputs if key in progress.failed), None)
    if blocked is not None:
        progress.failed[task.key] = f"needs a task that failed: {progress.failed[blocked]}".replace(
            "needs a task that failed: needs", "needs"
        )
        return True
    if standing.done(task.key):
        progress.reused += 1
        return True
    return False


def _count(task: Task, error: str | None, overhead: float, progress: Progress) -> None:
    progress.overhead += overhead
    if error is None:
        progress.made.add(task.key)
    else:
        progress.failed[task.key] = error
        say(f"failed: {task.label}: {error}")


@dataclass
class _Here:
    """This process, a task at a time."""

    loader: Loader
    tasks: Mapping[str, Task]
    slots: int = 1
    sent: list[Task] = field(default_factory=list)

    @property
    def device(self) -> str:
        return self.loader.device

    def send(self, task: Task) -> None:
        self.sent.append(task)

    def next(self, seconds: float | None = None) -> Ended | None:
        task = self.sent.pop()
        return task, *attempt(task, self.loader, self.tasks)


def _scheduled(
    tasks: Mapping[str, Task], standing: Standing, crew: Crew, progress: Progress, ended: Callable[[Task], None]
) -> None:
    """Send each task as soon as what it consumes stands, in the order of the plan; leave what others are computing to them."""
    with Claims(standing.store.place) as claims:
        _claimed(tasks, standing, crew, progress, ended, claims)


def _claimed(
    tasks: Mapping[str, Task],
    standing: Standing,
    crew: Crew,
    progress: Progress,
    ended: Callable[[Task], None],
    claims: Claims,
) -> None:
    place = {key: number for number, key in enumerate(tasks)}
    unmet = {key: sum(above in tasks for above in task.inputs) for key, task in tasks.items()}
    dependents: dict[str, list[str]] = {}
    for key, task in tasks.items():
        for above in task.inputs:
            dependents.setdefault(above, []).append(key)
    ready = [place[key] for key, number in unmet.items() if number == 0]
    heapq.heapify(ready)
    ordered, running = list(tasks.values()), 0
    elsewhere: list[str] = []  # tasks that others have claimed
    looked = time.monotonic()

    def over(task: Task) -> None:
        ended(task)
        for key in dependents.get(task.key, ()):
            unmet[key] -= 1
            if unmet[key] == 0:
                heapq.heappush(ready, place[key])

    while ready or running or elsewhere:
        while ready and running < crew.slots:
            task = ordered[heapq.heappop(ready)]
            if _settled(task, standing, progress):
                over(task)
                continue
            standing.forget(task.key)
            if not claims.take(task.key):
                elsewhere.append(task.key)
            elif _settled(task, standing, progress):  # another was done in the meantime
                claims.drop(task.key)
                over(task)
            else:
                crew.send(task)
                running += 1
        found = crew.next(PAUSE if elsewhere else NEWS if ready else None) if running else None
        if found is not None:
            task, error, overhead = found
            running -= 1
            if error is not None and error.startswith(("Corrupted:", "Missing:")):
                error, overhead = _restored(task, Loader(standing.store, crew.device), tasks)
                standing.forget(*task.inputs)
            standing.forget(task.key)
            claims.drop(task.key)
            _count(task, error, overhead, progress)
            over(task)
        elif elsewhere and not running and not ready:
            time.sleep(PAUSE)
        if elsewhere and time.monotonic() - looked >= PAUSE:
            free = dict.fromkeys(claims.free(elsewhere))
            elsewhere = [key for key in elsewhere if key not in free]
            standing.forget(*free)
            for key in free:
                heapq.heappush(ready, place[key])
            looked = time.monotonic()


def _restored(task: Task, loader: Loader, tasks: Mapping[str, Task]) -> tuple[str | None, float]:
    """Perform a task again after its corrupted inputs, which a worker set aside."""
    _one_thread(loader.device)
    for key in task.inputs:
        if loader.store.record(key) is None:
            attempt(tasks[key], loader, tasks)
    return attempt(task, loader, tasks)


def _processes(
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    standing = Standing(store, tasks)
    if all(standing.done(key) for key in tasks):  # no worker is needed
        _serial(tasks, store, device, progress, ended, standing)
        return
    crew = Processes(store, device)
    try:
        _scheduled(tasks, standing, crew, progress, ended)
    except BaseException:
        crew.stop(kill=True)
        raise
    crew.stop(kill=False)


def _ray(
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    _scheduled(tasks, Standing(store, tasks), Cluster(store, device), progress, ended)


EXECUTORS = {"serial": _serial, "processes": _processes, "ray": _ray}
