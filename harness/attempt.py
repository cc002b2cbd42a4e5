"""One task, performed and stored; or its failure, recorded."""

from __future__ import annotations

import errno
import platform
import time
import traceback
from collections.abc import Mapping
from typing import Any

from harness.loading import Loader
from harness.places import Away
from harness.plan import Task
from harness.progress import say
from harness.store import Corrupted, Store

FULL = {errno.ENOSPC, errno.EDQUOT}  # the disk or the quota


def attempt(task: Task, loader: Loader, tasks: Mapping[str, Task]) -> tuple[str | None, float]:
    """Perform a task and store its result; returns the error's last line, or None, and the harness's own seconds.

    An input found corrupted is computed anew, if its task is among `tasks`, and the task is tried once more.
    """
    try:
        return None, _store(task, loader)
    except Corrupted as error:
        say(str(error))
        if error.key not in tasks:
            return failed(task, loader.store, error), 0.0
        loader.kept.clear()
        again, _ = attempt(tasks[error.key], loader, tasks)
        return (again, 0.0) if again else attempt(task, loader, tasks)
    except OSError as error:
        if error.errno in FULL or isinstance(error, Away):  # everything after it would fail as well
            raise
        return failed(task, loader.store, error), 0.0
    except Exception as error:
        return failed(task, loader.store, error), 0.0


def _store(task: Task, loader: Loader) -> float:
    """Perform and store; returns the seconds that were not the task's own."""
    from harness.measure import measure
    from harness.perform import PERFORM, perform

    PERFORM.setdefault("measure", measure)  # not there: that file's code is part of the keys of observations
    start, store = time.perf_counter(), loader.store
    result, facts = perform(task, loader)
    consumed = {key: (store.record(key) or {}).get("sha256", "") for key in task.inputs}
    record = {"kind": task.kind, "label": task.label, "rows": task.rows, "consumed": consumed, "facts": facts}
    store.put(task.key, result, record | {"machine": machine(loader.device)})
    store.clear_failure(task.key)
    return float(time.perf_counter() - start - facts["seconds"])


def failed(task: Task, store: Store, error: Exception) -> str:
    """Record why a task failed; returns the line."""
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
