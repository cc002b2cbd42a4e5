"""Claims: one coordinator has a task, the dead have none, and two on one store share the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import execute
from harness.claims import Claims
from harness.plan import Task
from harness.store import Store
from harness.types import Spec


def test_a_task_is_claimed_once(tmp_path: Path) -> None:
    with Claims(tmp_path) as one, Claims(tmp_path) as other:
        assert one.take("a")
        assert not other.take("a")
        one.drop("a")
        other.drop("a")  # not its own: nothing happens
        assert other.take("a")
        assert not one.take("a")
    assert [path.name for path in (tmp_path / "claims").iterdir()] == []


def test_the_dead_have_no_claims(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from harness.claims import Claims; c = Claims(Path({str(tmp_path)!r})); c.__enter__(); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(c.take('a'), flush=True); import os; os._exit(1)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n"
    with Claims(tmp_path) as claims:
        assert claims.take("a")


@pytest.mark.parametrize("content", ["elsewhere 1 1", "", "no claim of ours at all"])
def test_a_claim_of_another_machine_is_void_when_it_is_not_kept_fresh(tmp_path: Path, content: str) -> None:
    with Claims(tmp_path) as claims:
        path = tmp_path / "claims" / "a"
        path.write_text(content)
        assert not claims.take("a")
        os.utime(path, (time.time() - 120, time.time() - 120))
        assert claims.take("a")


def test_a_claim_dated_in_the_future_is_void_when_it_is_not_kept_fresh(tmp_path: Path) -> None:
    with Claims(tmp_path, lease=0.3) as claims:
        path = tmp_path / "claims" / "a"
        path.write_text("elsewhere 1 1")
        for hours in (1, 2):  # its owner lives: the file changes
            os.utime(path, (time.time() + 3600 * hours, time.time() + 3600 * hours))
            assert not claims.take("a")
            time.sleep(0.2)
        time.sleep(0.2)
        assert claims.take("a")


def test_a_clock_that_jumps_takes_no_claim_from_a_living_owner(tmp_path: Path) -> None:
    with Claims(tmp_path) as one, Claims(tmp_path) as other:
        assert one.take("a")
        for moved in (-1e6, 1e6):
            os.utime(tmp_path / "claims" / "a", (time.time() + moved, time.time() + moved))
            assert not other.take("a")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_claim_that_does_not_fit_on_the_disk_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.fdopen

    def full(file: int, mode: str) -> object:
        os.dup2(os.open("/dev/full", os.O_WRONLY), file)
        return whole(file, mode)

    with Claims(tmp_path) as claims:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", full)
            with pytest.raises(OSError, match="No space left"):
                claims.take("a")
        assert claims.take("a")


def test_a_claim_stays_fresh_while_its_owner_lives(tmp_path: Path) -> None:
    with Claims(tmp_path, beat=0.05) as claims:
        claims.take("a")
        path = tmp_path / "claims" / "a"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


def test_two_coordinators_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve tasks in three layers, computed once each, whoever computes them."""
    made: list[str] = []
    lock = threading.Lock()

    def attempt(task: Task, loader: object, tasks: object) -> tuple[str | None, float]:
        with lock:
            made.append(task.key)
        time.sleep(0.05)
        Store(tmp_path).put(task.key, {"made": 1}, {"consumed": {}})
        return None, 0.0

    monkeypatch.setattr(execute, "attempt", attempt)
    monkeypatch.setattr(execute, "PAUSE", 0.01)
    digits = Spec.of("dataset", "digits")
    tasks = [
        Task("fit", f"{layer}{n:031d}", "task", digits, tuple(f"{layer - 1}{m:031d}" for m in range(4) if layer > 0))
        for layer in range(3)
        for n in range(4)
    ]
    found: list[execute.Progress] = []
    workers = [threading.Thread(target=lambda: found.append(execute.run(tasks, Store(tmp_path)))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(made) == sorted(task.key for task in tasks)
    assert [progress.computed + progress.reused for progress in found] == [12, 12]
    assert min(progress.computed for progress in found) >= 3
