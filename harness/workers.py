"""Workers that perform tasks side by side: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.attempt import attempt, failed
from harness.loading import Loader
from harness.plan import Task
from harness.progress import say
from harness.store import Store

RETRIES = 3  # of a task whose worker was lost
WHY = "killed, crashed or out of memory"
GIVEN = ("HARNESS_HOME", "HARNESS_DATA")  # of the environment, to workers on other machines
LOOK = 5.0  # seconds between two looks at the size of a cluster


class Lost(RuntimeError):
    """The workers of a task ended before it did."""


Ended = tuple[Task, str | None, float]  # a task, its error or None, and the harness's own seconds


class Crew(Protocol):
    """Workers that perform tasks side by side; results come through the store."""

    @property
    def slots(self) -> int:
        """How many tasks they take at once; it may change."""
        ...

    @property
    def device(self) -> str:
        """Where they compute."""
        ...

    def send(self, task: Task) -> None:
        """Start a task."""
        ...

    def next(self, seconds: float | None = None) -> Ended | None:
        """Wait for a task to end, so many seconds at most; None if none did."""
        ...


@dataclass
class Processes:
    """A process a core, one thread each; a process that dies takes its own task with it, which is performed again."""

    store: Store
    device: str
    slots: int = field(default_factory=lambda: os.cpu_count() or 1)
    running: dict[Future[tuple[str | None, float]], tuple[Task, ProcessPoolExecutor]] = field(default_factory=dict)
    idle: list[ProcessPoolExecutor] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def send(self, task: Task) -> None:
        while self.idle:
            pool = self.idle.pop()
            try:
                self.running[pool.submit(_remote, task, self.store, self.device)] = task, pool
                return
            except BrokenProcessPool:  # its process ended while it had nothing to do
                pool.shutdown(wait=False)
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _worker, (os.getpid(),))
        self.running[pool.submit(_remote, task, self.store, self.device)] = task, pool

    def next(self, seconds: float | None = None) -> Ended | None:
        while True:
            ended, _ = wait(self.running, seconds, return_when=FIRST_COMPLETED)
            if not ended:
                return None
            future = ended.pop()
            task, pool = self.running.pop(future)
            try:
                error, overhead = future.result()
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                self.lost[task.key] = self.lost.get(task.key, 0) + 1
                if self.lost[task.key] > RETRIES:
                    return (
                        task,
                        failed(task, self.store, Lost(f"{self.lost[task.key]} workers ended in it; {WHY}")),
                        0.0,
                    )
                say(f"a worker ended in {task.label}; it is performed again")
                self.send(task)
            else:
                self.idle.append(pool)
                return task, error, overhead

    def stop(self, *, kill: bool) -> None:
        """End the processes, at once or as soon as they are idle."""
        for pool in (*self.idle, *(pool for _, pool in self.running.values())):
            for process in list((pool._processes or {}).values()) if kill else ():
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)


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


@dataclass
class Cluster:
    """Workers of a Ray cluster: the local machine, or the cluster that RAY_ADDRESS names; its size may change.

    A task takes a core, or on `cuda` a GPU and a core. Twice as many are sent as there are places for, so that a cluster
    that grows by demand sees some, and no worker waits for its next task.
    """

    store: Store
    device: str
    running: dict[Any, Task] = field(default_factory=dict)
    ready: deque[Any] = field(default_factory=deque)
    places: int = 0
    looked: float = -float("inf")

    def __post_init__(self) -> None:
        import ray

        # "local", as Ray would else wait for long for a cluster that was once started here and is gone
        address = os.environ.get("RAY_ADDRESS") or "local"
        ray.init(address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        gpus = 1 if self.device.startswith("cuda") else 0
        self.resource = "GPU" if gpus else "CPU"
        self.remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_elsewhere)
        self.given = {name: os.environ[name] for name in GIVEN if name in os.environ}

    @property
    def slots(self) -> int:
        import ray

        if time.monotonic() - self.looked > LOOK:
            before, self.places = self.places, int(ray.cluster_resources().get(self.resource, 0))
            if not self.places and (before or self.looked < 0):
                say(f"the Ray cluster has no {self.resource} now; tasks wait until it has one")
            self.looked = time.monotonic()
        return max(1, 2 * self.places)

    def send(self, task: Task) -> None:
        self.running[self.remote.remote(task, self.store, self.device, self.given)] = task

    def next(self, seconds: float | None = None) -> Ended | None:
        import ray
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

        if not self.ready:
            some, _ = ray.wait(list(self.running), num_returns=1, timeout=seconds)
            if len(some) > 0:
                some, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
            self.ready.extend(some)
        if not self.ready:
            return None
        ready = self.ready.popleft()
        task = self.running.pop(ready)
        try:
            error, overhead = ray.get(ready)
        except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as lost:
            return task, failed(task, self.store, Lost(f"{type(lost).__name__} {1 + RETRIES} times; {WHY}")), 0.0
        except RayTaskError as raised:
            raise raised.cause from None
        return task, error, overhead


_loaders: dict[tuple[Store, str], Loader] = {}


def _remote(task: Task, store: Store, device: str) -> tuple[str | None, float]:
    """Perform a task in a worker, which keeps its loader from task to task; not if one that was lost had stored the result."""
    if store.done(task.key):
        return None, 0.0
    return attempt(task, _loaders.setdefault((store, device), Loader(store, device)), {})


def _elsewhere(task: Task, store: Store, device: str, given: Mapping[str, str]) -> tuple[str | None, float]:
    """Perform a task on what may be another machine, told where data are kept unless it knows."""
    for name, value in given.items():
        os.environ.setdefault(name, value)
    return _remote(task, store, device)
