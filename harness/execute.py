"""Perform what the store lacks, one task after another or on a Ray cluster; resumable at any moment."""

from __future__ import annotations

import errno
import heapq
import multiprocessing
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.claims import Claims
from harness.loading import Loader
from harness.plan import Task
from harness.progress import say, shown
from harness.store import Corrupted, Store

PAUSE = 0.5  # seconds before tasks that others have claimed are looked at again


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
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    _one_thread(device)
    _scheduled(tasks, store, _Here(Loader(store, device), tasks), progress, ended)


def _one_thread(device: str) -> None:
    """The same numbers in this process as in a worker."""
    if not device.startswith("cuda"):
        import torch

        torch.set_num_threads(1)


def _settled(task: Task, store: Store, progress: Progress) -> bool:
    """Whether nothing is to be computed: a task that it needs failed, or its result stands."""
    blocked = next((key for key in task.inputs if key in progress.failed), None)
    if blocked is not None:
        progress.failed[task.key] = f"needs a task that failed: {progress.failed[blocked]}".replace(
            "needs a task that failed: needs", "needs"
        )
        return True
    if store.done(task.key):
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


class Crew(Protocol):
    """Workers that perform tasks side by side; results come through the store."""

    slots: int

    @property
    def device(self) -> str:
        """Where they compute."""
        ...

    def send(self, task: Task) -> None:
        """Start a task."""
        ...

    def next(self) -> tuple[Task, str | None, float]:
        """Wait for a task to end: its error, or None, and the harness's own seconds."""
        ...


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

    def next(self) -> tuple[Task, str | None, float]:
        task = self.sent.pop()
        return task, *attempt(task, self.loader, self.tasks)


def _scheduled(
    tasks: Mapping[str, Task], store: Store, crew: Crew, progress: Progress, ended: Callable[[Task], None]
) -> None:
    """Send each task as soon as what it consumes stands, in the order of the plan; leave what others are computing to them."""
    with Claims(store.folder) as claims:
        _claimed(tasks, store, crew, progress, ended, claims)


def _claimed(
    tasks: Mapping[str, Task],
    store: Store,
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
    elsewhere: list[int] = []  # places of tasks that others have claimed

    def over(task: Task) -> None:
        ended(task)
        for key in dependents.get(task.key, ()):
            unmet[key] -= 1
            if unmet[key] == 0:
                heapq.heappush(ready, place[key])

    while ready or running or elsewhere:
        while ready and running < crew.slots:
            task = ordered[heapq.heappop(ready)]
            if _settled(task, store, progress):
                over(task)
            elif not claims.take(task.key):
                elsewhere.append(place[task.key])
            elif _settled(task, store, progress):  # another was done in the meantime
                claims.drop(task.key)
                over(task)
            else:
                crew.send(task)
                running += 1
        if running:
            task, error, overhead = crew.next()
            running -= 1
            if error is not None and error.startswith(("Corrupted:", "Missing:")):
                error, overhead = _restored(task, Loader(store, crew.device), tasks)
            claims.drop(task.key)
            _count(task, error, overhead, progress)
            over(task)
        elif not ready:
            time.sleep(PAUSE)
        while elsewhere:
            heapq.heappush(ready, elsewhere.pop())


def _restored(task: Task, loader: Loader, tasks: Mapping[str, Task]) -> tuple[str | None, float]:
    """Perform a task again after its corrupted inputs, which a worker set aside."""
    _one_thread(loader.device)
    for key in task.inputs:
        if loader.store.record(key) is None:
            attempt(tasks[key], loader, tasks)
    return attempt(task, loader, tasks)


@dataclass
class _Processes:
    """One process a core, one thread each: small networks gain nothing from a second thread."""

    store: Store
    device: str
    slots: int = field(default_factory=lambda: os.cpu_count() or 1)
    running: dict[Future[tuple[str | None, float]], Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(self.slots, context, _worker, (os.getpid(),))

    def send(self, task: Task) -> None:
        self.running[self.pool.submit(_remote, task, self.store, self.device)] = task

    def next(self) -> tuple[Task, str | None, float]:
        ended, _ = wait(self.running, return_when=FIRST_COMPLETED)
        future = ended.pop()
        task = self.running.pop(future)
        return task, *future.result()


def _worker(parent: int) -> None:
    """One thread, deaf to Ctrl-C (the parent ends the pool), gone when the parent is gone, silent on standard output."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _processes(
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    if all(store.done(task.key) for task in tasks.values()):
        return _serial(tasks, store, device, progress, ended)  # no worker is needed
    crew = _Processes(store, device)
    try:
        _scheduled(tasks, store, crew, progress, ended)
    except BaseException:
        for process in list((crew.pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        crew.pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Cluster:
    """Workers of a Ray cluster: the local machine, or the cluster that RAY_ADDRESS names."""

    store: Store
    device: str
    running: dict[Any, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import ray

        ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        gpus = 1 if self.device.startswith("cuda") else 0
        self.slots = max(1, int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1)))
        self.remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_remote)

    def send(self, task: Task) -> None:
        self.running[self.remote.remote(task, self.store, self.device)] = task

    def next(self) -> tuple[Task, str | None, float]:
        import ray

        (ready, *_), _ = ray.wait(list(self.running), num_returns=1)
        error, overhead = ray.get(ready)
        return self.running.pop(ready), error, overhead


def _ray(
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    _scheduled(tasks, store, _Cluster(store, device), progress, ended)


_loaders: dict[tuple[Store, str], Loader] = {}


def _remote(task: Task, store: Store, device: str) -> tuple[str | None, float]:
    """Perform a task in a worker, which keeps its loader from task to task."""
    return attempt(task, _loaders.setdefault((store, device), Loader(store, device)), {})


EXECUTORS = {"serial": _serial, "processes": _processes, "ray": _ray}


def attempt(task: Task, loader: Loader, tasks: Mapping[str, Task]) -> tuple[str | None, float]:
    """Perform a task and store its result; returns the error's last line, or None, and the harness's own seconds.

    An input found corrupted is computed anew, if its task is among `tasks`, and the task is tried once more.
    """
    try:
        return None, _store(task, loader)
    except Corrupted as error:
        say(str(error))
        if error.key not in tasks:
            return _failed(task, loader.store, error), 0.0
        loader.kept.clear()
        again, _ = attempt(tasks[error.key], loader, tasks)
        return (again, 0.0) if again else attempt(task, loader, tasks)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # everything after it would fail as well
            raise
        return _failed(task, loader.store, error), 0.0
    except Exception as error:
        return _failed(task, loader.store, error), 0.0


def _store(task: Task, loader: Loader) -> float:
    """Perform and store; returns the seconds that were not the task's own."""
    from harness.perform import perform

    start, store = time.perf_counter(), loader.store
    result, facts = perform(task, loader)
    consumed = {key: (store.record(key) or {}).get("sha256", "") for key in task.inputs}
    record = {"kind": task.kind, "label": task.label, "rows": task.rows, "consumed": consumed, "facts": facts}
    store.put(task.key, result, record | {"machine": machine(loader.device)})
    store.clear_failure(task.key)
    return float(time.perf_counter() - start - facts["seconds"])


def _failed(task: Task, store: Store, error: Exception) -> str:
    line = f"{getattr(error, 'kind', type(error).__name__)}: {error}"
    trace = traceback.format_exc() + getattr(error, "trace", "")
    store.fail(task.key, {"task": task.label, "error": line, "traceback": trace, "time": time.time()})
    return line


def machine(device: str) -> dict[str, Any]:
    """Where a result was made: recorded, not hashed."""
    import torch

    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
