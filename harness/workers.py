"""Workers that perform tasks side by side: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
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


class Lost(RuntimeError):
    """The workers of a task ended before it did."""


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

    def next(self) -> tuple[Task, str | None, float]:
        while True:
            ended, _ = wait(self.running, return_when=FIRST_COMPLETED)
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
    """Workers of a Ray cluster: the local machine, or the cluster that RAY_ADDRESS names."""

    store: Store
    device: str
    running: dict[Any, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import ray

        ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        gpus = 1 if self.device.startswith("cuda") else 0
        self.slots = max(1, int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1)))
        self.remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_remote)

    def send(self, task: Task) -> None:
        self.running[self.remote.remote(task, self.store, self.device)] = task

    def next(self) -> tuple[Task, str | None, float]:
        import ray
        from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

        (ready, *_), _ = ray.wait(list(self.running), num_returns=1)
        task = self.running.pop(ready)
        try:
            error, overhead = ray.get(ready)
        except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as lost:
            return task, failed(task, self.store, Lost(f"{type(lost).__name__} {1 + RETRIES} times; {WHY}")), 0.0
        return task, error, overhead


_loaders: dict[tuple[Store, str], Loader] = {}


def _remote(task: Task, store: Store, device: str) -> tuple[str | None, float]:
    """Perform a task in a worker, which keeps its loader from task to task."""
    return attempt(task, _loaders.setdefault((store, device), Loader(store, device)), {})
