"""Ray: a task a core or a GPU, a cluster that grows and shrinks, a worker that is killed, errors of the store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import workers
from harness.places import Away
from harness.store import Store

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes(kept_environment: None) -> Iterator[Any]:
    """A cluster of one node with two cores and two GPUs that are not there."""
    from ray.cluster_utils import Cluster

    os.environ.pop("RAY_ADDRESS", None)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def task(name: str) -> Any:
    """What of a task the crew needs; a real one would have each worker import torch."""
    return SimpleNamespace(key=f"{name:>032}", label=name)


def crew_of(folder: Path, device: str, perform: Any, monkeypatch: pytest.MonkeyPatch) -> workers.Cluster:
    monkeypatch.setattr(workers, "_elsewhere", perform)
    monkeypatch.setattr(workers, "LOOK", 0.0)
    return workers.Cluster(Store(folder), device)


def ended(crew: workers.Cluster, count: int) -> dict[str, str | None]:
    found = [crew.next() for _ in range(count)]
    return {made.label: error for made, error, _ in filter(None, found)}


def test_one_task_a_gpu(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def perform(made: Any, store: Store, device: str, given: dict[str, str]) -> tuple[str | None, float]:
        import ray

        begin = time.time()
        time.sleep(0.4)
        row = {"gpus": ray.get_gpu_ids(), "begin": begin, "end": time.time(), "home": given["HARNESS_HOME"]}
        (store.folder / made.label).write_text(json.dumps(row))
        return None, 0.0

    crew = crew_of(tmp_path, "cuda", perform, monkeypatch)
    assert crew.slots == 4  # twice the GPUs: two wait
    for number in range(6):
        crew.send(task(f"t{number}"))
    assert ended(crew, 6) == {f"t{number}": None for number in range(6)}
    rows = [json.loads(path.read_text()) for path in tmp_path.glob("t*")]
    assert {len(row["gpus"]) for row in rows} == {1}
    assert {row["home"] for row in rows} == {os.environ["HARNESS_HOME"]}
    for one in rows:
        others = [row for row in rows if row is not one and row["gpus"] == one["gpus"]]
        assert all(row["end"] <= one["begin"] or one["end"] <= row["begin"] for row in others)


def test_a_killed_worker_is_replaced_and_its_task_performed_again(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(made: Any, store: Store, device: str, given: dict[str, str]) -> tuple[str | None, float]:
        import signal

        if made.label == "raises":
            raise Away("the store does not answer")
        (store.folder / f"{made.label}.{os.getpid()}").touch()
        if made.label == "dies" or len(list(store.folder.glob(f"{made.label}.*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return None, 0.25

    monkeypatch.setattr(workers, "RETRIES", 1)
    crew = crew_of(tmp_path, "cpu", perform, monkeypatch)
    crew.send(task("dies-once"))
    assert ended(crew, 1) == {"dies-once": None}
    assert len(list(tmp_path.glob("dies-once.*"))) == 2
    crew.send(task("dies"))
    assert ended(crew, 1) == {"dies": "Lost: WorkerCrashedError 2 times; killed, crashed or out of memory"}
    assert crew.store.failure(task("dies").key)
    crew.send(task("raises"))
    with pytest.raises(Away, match=r"^the store does not answer$"):
        crew.next()


def test_slots_follow_the_cluster(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perform(made: Any, store: Store, device: str, given: dict[str, str]) -> tuple[str | None, float]:
        time.sleep(1.0 if made.label == "long" else 0.0)
        return None, 0.0

    crew = crew_of(tmp_path, "cpu", perform, monkeypatch)
    assert crew.slots == 4
    more = nodes.add_node(num_cpus=3)
    assert crew.slots == 10
    nodes.remove_node(more)
    deadline = time.monotonic() + 20
    while crew.slots != 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert crew.slots == 4
    crew.send(task("long"))
    assert crew.next(0.1) is None
    assert ended(crew, 1) == {"long": None}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})
    assert (crew.slots, crew.slots) == (1, 1)
    assert capsys.readouterr().err == "the Ray cluster has no CPU now; tasks wait until it has one\n"
