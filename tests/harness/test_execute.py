"""Running: what stands is reused, what fails is said and tried again, what is damaged is computed anew."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import api, execute
from harness.plan import Plan, Task
from harness.store import Store, file_name

SMALL: dict[str, Any] = {
    "name": "small",
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 3, "width": 32}}],
    "defenses": ["none", "bit_depth"],
    "attacks": ["noise", "fgsm", {"pgd": {"steps": 2}}],
    "threats": [{"norm": "linf", "epsilons": [0.1, 0.2], "knowledge": ["adaptive"]}],
    "inputs": 16,
    "shard": 8,
}
FAILING = """
@dataclass(frozen=True)
class Failing:
    \"\"\"Fails to fit while the file named beside it is missing.\"\"\"

    role: ClassVar[str] = "detector"

    def fit(self, data, *, victim):
        from pathlib import Path
        if not (Path(__file__).parent / "mended").exists():
            raise ZeroDivisionError("the wheel came off")
        return {"mean": data.x.mean()}

    def load(self, state, *, victim):
        return lambda x: (x.flatten(1).mean(1) - state["mean"]).abs()
"""
GREEDY = """
@dataclass(frozen=True)
class Greedy:
    \"\"\"Writes to the data that it is fitted on.\"\"\"

    role: ClassVar[str] = "detector"

    def fit(self, data, *, victim):
        return {"mean": data.x.mul_(0.5).mean()}

    def load(self, state, *, victim):
        return lambda x: (x.flatten(1).mean(1) - state["mean"]).abs()
"""


def run(home: Path, *, executor: str = "serial", **changes: Any) -> api.Result:
    return api.run(SMALL | changes, home=home, executor=executor, track=False)


def figures(result: api.Result) -> list[dict[str, Any]]:
    """What a record says about its system, without costs and times."""
    kept = ("defense", "metrics", "per_input", "flags", "threats", "complete")
    rows = [{name: record[name] for name in kept} for record in result.records]
    return sorted(rows, key=lambda row: str(row["defense"]))


def observed(plan: Plan, home: Path) -> dict[str, str]:
    store = Store(home / "store")
    return {key: store.record(key)["sha256"] for key, task in plan.tasks.items() if task.kind == "observe"}  # type: ignore[index]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, kept_environment: None) -> tuple[api.Result, Path]:
    home = tmp_path_factory.mktemp("ran")
    return run(home), home


def test_the_second_run_computes_nothing(ran: tuple[api.Result, Path]) -> None:
    first, home = ran
    again = run(home)
    assert (first.progress.reused, len(first.progress.failed)) == (0, 0)
    assert (again.progress.reused, again.progress.computed) == (first.progress.total, 0)
    assert figures(first) == figures(again)


def test_a_new_defense_computes_its_own_tasks_only(ran: tuple[api.Result, Path]) -> None:
    _, home = ran
    more = run(home, defenses=["none", "bit_depth", {"bit_depth": {"bits": 1}}])
    names = [task.label for task in api.plan_of(more.grid).tasks.values() if task.key in more.progress.made]
    assert names
    assert all("bit_depth(bits=1)" in name for name in names)


def test_processes_and_serial_agree(ran: tuple[api.Result, Path], tmp_path: Path) -> None:
    first, home = ran
    second = run(tmp_path, executor="processes")
    plan = api.plan_of(first.grid)
    assert observed(plan, home) == observed(plan, tmp_path)
    assert figures(first) == figures(second)


def test_shards_do_not_change_what_is_found(ran: tuple[api.Result, Path], tmp_path: Path) -> None:
    """Random numbers belong to the key, which names the shard; all else is the same for the deterministic attack."""
    first, _ = ran
    other = run(tmp_path, attacks=["fgsm"], shard=16)
    cell = {
        (c["attack"], c["epsilon"]): c["robust_accuracy"]["value"]
        for r in first.records if r["defense"] == "none" for c in r["cells"]
    }  # fmt: skip
    again = next(r for r in other.records if r["defense"] == "none")["cells"]
    assert all(c["robust_accuracy"]["value"] == cell[c["attack"], c["epsilon"]] for c in again if c["attack"] == "fgsm")


def test_more_inputs_than_there_are(tmp_path: Path) -> None:
    result = run(tmp_path, inputs=1000, shard=256, defenses=["none"], attacks=["fgsm"])
    assert not result.progress.failed
    assert len(result.records[0]["per_input"]["index"]) == 359
    assert result.records[0]["inputs"] == 359


def test_two_lines_of_one_norm(tmp_path: Path) -> None:
    threats = [{"norm": "linf", "epsilons": [e], "knowledge": ["adaptive"]} for e in (0.01, 0.3)]
    headline = {"norm": "linf", "epsilon": 0.3, "knowledge": "adaptive"}
    result = run(tmp_path, threats=threats, headline=headline, defenses=["none"], attacks=["fgsm"])
    assert not result.progress.failed
    assert result.records[0]["complete"]
    assert {picture["epsilon"] for picture in result.records[0]["gallery"]} == {0.3}


def test_a_failing_defense_fails_alone_and_is_tried_again(
    tmp_path: Path, part: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    defense, home = part(FAILING), tmp_path / "home"
    changes: dict[str, Any] = {"defenses": ["none", defense], "attacks": ["fgsm"]}
    first = run(home, **changes)
    states = {record["defense"]: record["status"] for record in first.records}
    assert states == {"none": "complete", "part.py:Failing": "failed"}
    assert "ZeroDivisionError: the wheel came off" in str(first.records)
    assert "failed: fit part.py:Failing on digits: ZeroDivisionError: the wheel came off" in capsys.readouterr().err
    plan = api.plan_of(first.grid)
    (fit,) = [task for task in plan.tasks.values() if task.label.startswith("fit part.py:Failing")]
    failure = Store(home / "store").failure(fit.key)
    assert failure is not None
    assert "Traceback" in failure["traceback"]
    again = run(home, **changes)
    assert (again.progress.computed, len(again.progress.failed)) == (0, len(first.progress.failed))
    (Path(defense.rpartition(":")[0]).parent / "mended").touch()
    mended = run(home, **changes)
    assert not mended.progress.failed
    assert mended.progress.computed == len(first.progress.failed)
    assert {record["status"] for record in mended.records} == {"complete"}
    assert Store(home / "store").failure(fit.key) is None


def test_a_part_that_writes_to_the_data_of_its_fit_harms_no_other(tmp_path: Path, part: Callable[..., str]) -> None:
    from harness.data import _part

    greedy = part(GREEDY, "greedy")
    good = part(GREEDY.replace("Greedy", "Good").replace(".mul_(0.5)", ""), "good")
    alone = run(tmp_path / "one", defenses=[good], attacks=["fgsm"])
    _part.cache_clear()
    both = run(tmp_path / "two", defenses=[greedy, good], attacks=["fgsm"])
    _part.cache_clear()
    assert not both.progress.failed
    assert figures(alone)[0] == next(row for row in figures(both) if row["defense"] == "good.py:Good")


def damaged(home: Path, task: Task) -> None:
    store = Store(home / "store")
    record = store.record(task.key)
    assert record is not None
    path = store.folder / file_name(task.key, record["form"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("kind", "executor"),
    [("fit", "serial"), ("craft", "serial"), ("observe", "serial"), ("probe", "serial"), ("fit", "processes")],
)
def test_a_corrupted_result_is_computed_anew_and_said(
    ran: tuple[api.Result, Path], tmp_path: Path, kind: str, executor: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Found when it is consumed: here by the tasks of another defense, and by records that are made again."""
    import shutil

    first, source = ran
    home = tmp_path / "home"
    shutil.copytree(source, home)
    shutil.rmtree(home / "records")
    plan = api.plan_of(first.grid)
    # of crafted inputs those that pictures are drawn from: nothing else reads them again
    task = next(t for t in plan.tasks.values() if t.kind == kind and (kind != "craft" or "fgsm" in t.label))
    damaged(home, task)
    again = run(home, defenses=["none", "bit_depth", "gaussian_blur"], attacks=SMALL["attacks"], executor=executor)
    assert not again.progress.failed
    kept = {row["defense"]: row for row in figures(again)}
    assert [kept[row["defense"]] for row in figures(first)] == figures(first)
    store = Store(home / "store")
    assert all((record := store.record(key)) and store.intact(key, record) for key in plan.tasks)
    assert "does not have the content that its record names" in capfd.readouterr().err


def test_a_result_whose_input_changed_is_computed_anew(tmp_path: Path) -> None:
    result = run(tmp_path, defenses=["none"], attacks=["fgsm"])
    plan, store = api.plan_of(result.grid), Store(tmp_path / "store")
    fit = next(task for task in plan.tasks.values() if task.kind == "fit")
    state, record = store.get(fit.key), store.record(fit.key)
    state = {name: value + 1e-3 if value.is_floating_point() else value for name, value in state.items()}
    store.put(fit.key, state, {name: record[name] for name in ("kind", "label", "consumed", "facts")})  # type: ignore[index]
    again = run(tmp_path, defenses=["none"], attacks=["fgsm"])
    # The probe's and the observations' own results may come out the same, so that what follows them stands.
    assert fit.key not in again.progress.made
    direct = {key for key, task in plan.tasks.items() if fit.key in task.inputs}
    assert direct <= again.progress.made
    assert not again.progress.failed


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, written = Store.put, []

    def full(self: Store, key: str, result: Any, record: Any) -> None:
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(key)
        whole(self, key, result, record)

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(OSError, match="No space"):
        run(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    after = run(tmp_path)
    assert after.progress.reused == 4
    assert not after.progress.failed


def test_stopped_in_the_middle_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, begun = execute.attempt, []

    def stops(task: Task, loader: Any, tasks: Any) -> Any:
        if len(begun) == 5:
            raise KeyboardInterrupt
        begun.append(task.key)
        return whole(task, loader, tasks)

    monkeypatch.setattr(execute, "attempt", stops)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    after = run(tmp_path)
    assert (after.progress.reused, after.progress.computed) == (5, after.progress.total - 5)


def test_the_plan_is_in_order_and_each_task_stands_once(ran: tuple[api.Result, Path]) -> None:
    plan = api.plan_of(ran[0].grid)
    seen: set[str] = set()
    for key, task in plan.tasks.items():
        assert task.key == key
        assert set(task.inputs) <= seen
        seen.add(key)
    again = api.plan_of(ran[0].grid)
    assert list(again.tasks) == list(plan.tasks)
    for tasks in plan.observed.values():
        assert len({task.key for task in tasks}) == len(tasks)


def test_stored_outcomes_are_inside_the_ball_and_on_the_grid(ran: tuple[api.Result, Path]) -> None:
    result, home = ran
    store = Store(home / "store")
    for key, task in api.plan_of(result.grid).tasks.items():
        if task.kind == "observe":
            frame: pd.DataFrame = store.get(key)
            assert (frame["distance"] <= frame["epsilon"] * (1 + 1e-6)).all()
            assert frame["valid"].all()
        if task.kind == "craft":
            crafted = store.get(key)
            assert {str(v.dtype) for n, v in crafted.items() if n.startswith("x_adv")} == {"torch.uint8"}
            assert all(int(v.max()) <= 16 for n, v in crafted.items() if n.startswith("x_adv"))


def test_an_unknown_executor() -> None:
    with pytest.raises(ValueError, match="executor is one of serial, processes, ray, not 'slurm'"):
        execute.run([], Store(Path("unused")), executor="slurm")
