"""Claims: one coordinator has a task, the dead have none, and two on one store share the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import execute, places
from harness.claims import Claims
from harness.plan import Task
from harness.store import Store
from harness.types import Spec


def claims_of(folder: Path, **options: float) -> Claims:
    return Claims(places.at(str(folder)), **options)


def test_a_task_is_claimed_once(tmp_path: Path) -> None:
    with claims_of(tmp_path) as one, claims_of(tmp_path) as other:
        assert one.take("a") == ["a"]
        assert not other.take("a")
        assert other.free(["a", "b"]) == ["b"]
        one.drop("a")
        other.drop("a")  # not its own: nothing happens
        assert other.free(["a", "b"]) == ["a", "b"]
        assert other.take("a") == ["a"]
        assert not one.take("a")
    assert [path.name for path in (tmp_path / "claims").iterdir()] == []


def test_the_dead_have_no_claims(tmp_path: Path) -> None:
    """Nor does anything of theirs stay."""
    code = (
        "from harness import places; from harness.claims import Claims; "
        f"c = Claims(places.at({str(tmp_path)!r})); c.__enter__(); "
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "print(c.take('a', 'b'), flush=True); import os; os._exit(1)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "['a', 'b']\n"
    with claims_of(tmp_path) as claims:
        assert not claims.take("a")
        assert claims.free(["a", "b"]) == ["a", "b"]
        assert claims.take("a", "b", "c") == ["a", "b", "c"]
        assert claims.take("a", "d") == ["d"]
        claims.drop("a", "d")
        assert claims.held == {"b", "c"}
    assert [path.name for path in (tmp_path / "claims").iterdir()] == []


@pytest.mark.parametrize("content", ["elsewhere 1 1", "", "no claim of ours at all"])
def test_a_claim_of_another_machine_is_void_when_it_is_not_kept_fresh(tmp_path: Path, content: str) -> None:
    with claims_of(tmp_path) as claims:
        path = tmp_path / "claims" / "a"
        path.write_text(content)
        assert not claims.take("a")
        assert claims.free(["a"]) == []
        os.utime(path, (time.time() - 120, time.time() - 120))
        assert claims.free(["a"]) == ["a"]
        assert claims.take("a") == ["a"]


def test_a_sign_of_life_keeps_all_claims_of_another_machine(tmp_path: Path) -> None:
    with claims_of(tmp_path) as claims:
        sign = tmp_path / "claims" / ".elsewhere.1.1"
        for name in ("a", "b"):
            (tmp_path / "claims" / name).write_text("elsewhere 1 1")
            os.utime(tmp_path / "claims" / name, (time.time() - 120, time.time() - 120))
        sign.touch()
        assert claims.free(["a", "b"]) == []
        os.utime(sign, (time.time() - 120, time.time() - 120))
        assert claims.free(["a", "b"]) == ["a", "b"]
    with claims_of(tmp_path):
        assert not sign.exists()


def test_a_claim_dated_in_the_future_is_void_when_it_is_not_kept_fresh(tmp_path: Path) -> None:
    with claims_of(tmp_path, lease=0.3) as claims:
        path = tmp_path / "claims" / "a"
        path.write_text("elsewhere 1 1")
        for hours in (1, 2):  # its owner lives: the file changes
            os.utime(path, (time.time() + 3600 * hours, time.time() + 3600 * hours))
            assert claims.free(["a"]) == []
            time.sleep(0.2)
        time.sleep(0.2)
        assert claims.free(["a"]) == ["a"]


def test_a_clock_that_jumps_takes_no_claim_from_a_living_owner(tmp_path: Path) -> None:
    with claims_of(tmp_path) as one, claims_of(tmp_path) as other:
        assert one.take("a") == ["a"]
        for moved in (-1e6, 1e6):
            for path in (tmp_path / "claims").iterdir():
                os.utime(path, (time.time() + moved, time.time() + moved))
            assert other.free(["a"]) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_claim_that_does_not_fit_on_the_disk_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.fdopen

    def full(file: int, mode: str) -> object:
        os.dup2(os.open("/dev/full", os.O_WRONLY), file)
        return whole(file, mode)

    with claims_of(tmp_path) as claims:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", full)
            with pytest.raises(OSError, match="No space left"):
                claims.take("a")
        assert claims.take("a") == ["a"]


def test_a_coordinator_that_ended_badly_does_not_bar_the_next_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: places.Folder, name: str) -> None:
        raise places.Away("away")

    with monkeypatch.context() as patch, claims_of(tmp_path) as claims:
        assert claims.take("a") == ["a"]
        patch.setattr(places.Folder, "delete", away)
    with claims_of(tmp_path) as claims:
        assert claims.free(["a"]) == ["a"]
        assert claims.take("a") == ["a"]
    assert [path.name for path in (tmp_path / "claims").iterdir()] == []


def test_claims_that_were_made_before_one_failed_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = places.Folder.create

    def away(self: places.Folder, name: str, content: bytes) -> bool:
        if name.endswith("b"):
            raise places.Away("away")
        return whole(self, name, content)

    monkeypatch.setattr(places.Folder, "create", away)
    with claims_of(tmp_path) as claims:
        with pytest.raises(places.Away):
            claims.take("a", "b")
        assert claims.held == {"a"}
    assert [path.name for path in (tmp_path / "claims").iterdir()] == []


def test_a_coordinator_gives_signs_of_life(tmp_path: Path) -> None:
    with claims_of(tmp_path, beat=0.05):
        (path,) = (tmp_path / "claims").glob(".*")
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
