"""Perform what the store lacks, one task after another or on a Ray cluster; resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from harness.attempt import attempt as attempt
from harness.claims import Claims
from harness.loading import Loader
from harness.plan import Task
from harness.progress import say, shown
from harness.standing import Queue, Standing
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


def _count(task: Task, error: str | None, progress: Progress) -> None:
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
        if not self.sent:
            return None
        task = self.sent.pop()
        return task, *attempt(task, self.loader, self.tasks)


def _scheduled(
    tasks: Mapping[str, Task], standing: Standing, crew: Crew, progress: Progress, ended: Callable[[Task], None]
) -> None:
    """Send each task as soon as what it consumes stands, in the order of the plan; leave what others are computing to them."""
    with Claims(standing.store.place) as claims:
        _Coordinator(tasks, standing, crew, progress, ended, claims, Queue(tasks)).run()


@dataclass
class _Coordinator:
    """Sends tasks to a crew and takes what comes back, as many together as there are, for the sake of stores that are far away.

    elsewhere: tasks that others have claimed.
    """

    tasks: Mapping[str, Task]
    standing: Standing
    crew: Crew
    progress: Progress
    ended: Callable[[Task], None]
    claims: Claims
    queue: Queue
    running: int = 0
    elsewhere: set[str] = field(default_factory=set)

    def run(self) -> None:
        looked = time.monotonic()
        while self.queue.ready or self.running or self.elsewhere:
            while self.queue.ready and self.running < self.crew.slots:
                self.send()
            if self.running:
                self.receive(PAUSE if self.elsewhere else NEWS if self.queue.ready else None)
            elif self.elsewhere and not self.queue.ready:
                time.sleep(PAUSE)
            if self.elsewhere and time.monotonic() - looked >= PAUSE:
                free = self.claims.free(self.elsewhere)
                self.elsewhere.difference_update(free)
                self.standing.read(free)
                self.queue.push(*free)
                looked = time.monotonic()

    def send(self) -> None:
        """Claim and send what there are slots for, unless its result is found to stand."""
        some: list[Task] = []
        while self.queue.ready and self.running + len(some) < self.crew.slots:
            task = self.queue.pop()
            if _settled(task, self.standing, self.progress):
                self.over(task)
            else:
                some.append(task)
        taken = set(self.claims.take(*(task.key for task in some)))
        self.elsewhere.update(task.key for task in some if task.key not in taken)
        self.standing.read(task.key for task in some)  # another may have been done in the meantime
        done = [task for task in some if task.key in taken and _settled(task, self.standing, self.progress)]
        self.claims.drop(*(task.key for task in done))
        taken -= {task.key for task in done}
        for task in some:
            if task.key in taken:
                self.crew.send(task)
                self.running += 1
        for task in done:
            self.over(task)

    def receive(self, seconds: float | None) -> None:
        """Wait for a task to end, so many seconds at most, and take all that have."""
        found = self.crew.next(seconds)
        came: list[tuple[Task, str | None]] = []
        while found is not None:
            task, error, overhead = found
            self.running -= 1
            if error is not None and error.startswith(("Corrupted:", "Missing:")):
                error, overhead = _restored(task, Loader(self.standing.store, self.crew.device), self.tasks)
                self.standing.forget(*task.inputs)
            self.progress.overhead += overhead
            came.append((task, error))
            found = self.crew.next(0.0) if self.running else None
        self.standing.forget(*(task.key for task, _ in came))
        self.claims.drop(*(task.key for task, _ in came))
        for task, error in came:
            _count(task, error, self.progress)
            self.over(task)

    def over(self, task: Task) -> None:
        """A task is done, or has failed."""
        self.ended(task)
        self.queue.over(task.key)


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
    standing = Standing(store, tasks)
    if all(standing.done(key) for key in tasks):  # no cluster is needed
        _serial(tasks, store, device, progress, ended, standing)
    else:
        _scheduled(tasks, standing, Cluster(store, device), progress, ended)


EXECUTORS = {"serial": _serial, "processes": _processes, "ray": _ray}
