"""Perform what the store lacks, one task after another or on a Ray cluster; resumable at any moment."""

from __future__ import annotations

import errno
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.loading import Loader
from harness.plan import Task
from harness.progress import say, shown
from harness.store import Corrupted, Store


@dataclass
class Progress:
    """What became of the tasks."""

    total: int = 0
    reused: int = 0
    computed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    overhead: float = 0.0


def done(task: Task, store: Store) -> bool:
    """Whether a task's result stands, made from the results that stand now."""
    record = store.record(task.key)
    if record is None:
        return False
    for key, digest in record.get("consumed", {}).items():
        above = store.record(key)
        if above is None or above["sha256"] != digest:
            return False
    return True


def run(
    tasks: Iterable[Task],
    store: Store,
    *,
    device: str = "cpu",
    executor: str = "serial",
    finished: Callable[[Task, Mapping[str, str]], None] = lambda task, failed: None,
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
            finished(task, progress.failed)
            bars.advance(bar)

        EXECUTORS[executor](waiting, store, device, progress, ended)
    progress.seconds = time.perf_counter() - start
    return progress


def _serial(
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    loader = Loader(store, device)
    for task in tasks.values():
        if _settled(task, store, progress):
            ended(task)
            continue
        error, overhead = attempt(task, loader, tasks)
        _count(task, error, overhead, progress)
        ended(task)


def _settled(task: Task, store: Store, progress: Progress) -> bool:
    """Whether nothing is to be computed: a task that it needs failed, or its result stands."""
    blocked = next((key for key in task.inputs if key in progress.failed), None)
    if blocked is not None:
        progress.failed[task.key] = f"needs a task that failed: {progress.failed[blocked]}".replace(
            "needs a task that failed: needs", "needs"
        )
        return True
    if done(task, store):
        progress.reused += 1
        return True
    return False


def _count(task: Task, error: str | None, overhead: float, progress: Progress) -> None:
    progress.overhead += overhead
    if error is None:
        progress.computed += 1
    else:
        progress.failed[task.key] = error
        say(f"failed: {task.label}: {error}")


def _ray(
    tasks: Mapping[str, Task], store: Store, device: str, progress: Progress, ended: Callable[[Task], None]
) -> None:
    """The same tasks on a Ray cluster: each is sent as soon as what it consumes stands; results come through the store."""
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    gpus = 1 if device.startswith("cuda") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_remote)
    waiting, running = dict(tasks), {}
    while waiting or running:
        for task in list(waiting.values()):
            if any(key in waiting or key in {t.key for t in running.values()} for key in task.inputs):
                continue
            del waiting[task.key]
            if _settled(task, store, progress):
                ended(task)
            else:
                running[remote.remote(task, store, device)] = task
        if running:
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(ready)
            error, overhead = ray.get(ready)
            _count(task, error, overhead, progress)
            ended(task)


_loaders: dict[tuple[Store, str], Loader] = {}


def _remote(task: Task, store: Store, device: str) -> tuple[str | None, float]:
    """Perform a task in a worker, which keeps its loader from task to task."""
    return attempt(task, _loaders.setdefault((store, device), Loader(store, device)), {})


EXECUTORS = {"serial": _serial, "ray": _ray}


def attempt(task: Task, loader: Loader, tasks: Mapping[str, Task]) -> tuple[str | None, float]:
    """Perform a task and store its result; returns the error's last line, or None, and the harness's own seconds.

    An input found corrupted is computed anew, if its task is among `tasks`, and the task is tried once more.
    """
    start = time.perf_counter()
    try:
        return None, _store(task, loader, start)
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


def _store(task: Task, loader: Loader, start: float) -> float:
    from harness.perform import perform

    store = loader.store
    result, facts = perform(task, loader)
    consumed = {key: (store.record(key) or {}).get("sha256", "") for key in task.inputs}
    record = {"kind": task.kind, "label": task.label, "rows": task.rows, "consumed": consumed, "facts": facts}
    store.put(task.key, result, record | {"machine": machine(loader.device)})
    store.clear_failure(task.key)
    return float(time.perf_counter() - start - facts["seconds"])


def _failed(task: Task, store: Store, error: Exception) -> str:
    line = f"{type(error).__name__}: {error}"
    store.fail(task.key, {"task": task.label, "error": line, "traceback": traceback.format_exc(), "time": time.time()})
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
