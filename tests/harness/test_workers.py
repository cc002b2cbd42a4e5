"""Processes: one that dies takes its own task with it; it is performed again, and given up in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import workers
from harness.plan import Task
from harness.store import Store
from harness.types import Spec


def task(name: str) -> Task:
    return Task("fit", f"{name:>032}", name, Spec.of("dataset", "digits"), ())


def sleeps_or_dies(made: Task, store: Store, device: str) -> tuple[str | None, float]:
    """Stands in for a task: `dies` always kills its process, `dies-once` the first time."""
    if made.label.startswith("dies"):
        first = store.folder / f"{made.label}.{os.getpid()}"
        first.touch()
        if made.label == "dies" or len(list(store.folder.glob(f"{made.label}.*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return None, 0.5


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[workers.Processes]:
    monkeypatch.setattr(workers, "_remote", sleeps_or_dies)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    made = workers.Processes(Store(tmp_path), "cpu", slots=2)
    yield made
    made.stop(kill=True)


def test_the_task_of_a_worker_that_died_is_performed_again_and_no_other(
    crew: workers.Processes, tmp_path: Path
) -> None:
    crew.send(task("dies-once"))
    crew.send(task("sleeps"))
    ended = [crew.next() for _ in range(2)]
    assert sorted(made.label for made, _, _ in ended) == ["dies-once", "sleeps"]
    assert [(error, overhead) for _, error, overhead in ended] == [(None, 0.5)] * 2
    assert len(list(tmp_path.glob("dies-once.*"))) == 2
    assert crew.lost == {task("dies-once").key: 1}


def test_a_task_that_kills_every_worker_fails_and_says_why(
    crew: workers.Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "RETRIES", 1)
    crew.send(task("dies"))
    made, error, _ = crew.next()
    assert error == "Lost: 2 workers ended in it; killed, crashed or out of memory"
    failure = crew.store.failure(made.key)
    assert failure is not None
    assert failure["task"] == "dies"
    crew.send(task("sleeps"))
    assert crew.next()[1] is None


def test_a_worker_that_died_idle_is_replaced(crew: workers.Processes) -> None:
    crew.send(task("sleeps"))
    assert crew.next()[1] is None
    (process,) = crew.idle[0]._processes.values()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    crew.send(task("sleeps again"))
    made, error, _ = crew.next()
    assert (made.label, error) == ("sleeps again", None)
