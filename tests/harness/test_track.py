"""The writer to MLflow: nothing twice, the newer replaces the older with its cells, half-written runs go, one line of complaint."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness import mlflow_page, track
from harness.rank import Ranked
from harness.tracked import digest, newest, short


def share(value):
    return {"value": value, "low": value / 2, "high": (1 + value) / 2}


def record(defense="none", *, key="a" * 16, created="2026-01-01T00:00:00Z", robust=0.5, **changes):
    """A system's record with two cells."""
    axes = {"suite": "toy-1", "grid": "toy", "size": "official", "seed": 0, "dataset": "digits", "victim": "cnn"}
    threat = {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive"}
    costs = {"seconds": 1.0, "forwards": 40.0, "backwards": 40.0}
    cells = [
        {"attack": attack, "robust_accuracy": share(robust), "broken": 1, "median_distance": 0.1} | threat | costs
        for attack in ("fgsm", "pgd")
    ]
    made = {"id": key, "defense": defense, "created": created, "headline": threat, "cells": cells, "inputs": 4}
    made |= {"metrics": {"clean_accuracy": share(0.9), "robust_accuracy": share(robust)}, "parts": [], "gallery": []}
    made |= {"track": "plain", "status": "complete", "complete": True, "failed": [], "flags": []}
    made |= {"per_input": {"index": [0, 1, 2, 3], "robust": [1.0, 1.0, 0.0, 0.0]}, "command": "harness run toy"}
    return axes | costs | made | {"environment": {"commit": "0123abcd", "dirty": False}} | changes


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = tmp_path_factory.mktemp("run")
        yield home, track.client(home)


@pytest.fixture
def tracker(server):
    return track.Tracker(*server)


def runs(tracker, suite, condition):
    where = tracker.server.get_experiment_by_name(suite).experiment_id
    return list(tracker.server.search_runs([where], condition))


def test_writes_once(tracker, server):
    assert tracker.write(record(suite="once"))
    assert not tracker.write(record(suite="once", seconds=9.0, created="2026-02-02T00:00:00Z"))
    assert not track.Tracker(*server).write(record(suite="once"))
    (system,) = runs(tracker, "once", "tags.level = 'system'")
    assert system.data.metrics["robust_accuracy"] == 50.0
    assert system.data.tags["complete"] == "yes"
    assert system.info.status == "FINISHED"
    cells = runs(tracker, "once", f"tags.`mlflow.parentRunId` = '{system.info.run_id}'")
    assert sorted(cell.info.run_name for cell in cells) == ["fgsm linf 0.1 adaptive", "pgd linf 0.1 adaptive"]
    assert all(cell.data.metrics["cell_robust_accuracy"] == 50.0 for cell in cells)
    assert all(cell.data.tags["defense"] == "none" for cell in cells)


def test_newer_replaces_older_with_its_cells(tracker, server):
    tracker.write(record(suite="newer", key="1" * 16, created="2026-01-02T00:00:00Z"))
    tracker.write(record(suite="newer", key="2" * 16, created="2026-01-03T00:00:00Z"))
    other = track.Tracker(*server)
    assert other.write(record(suite="newer", key="3" * 16, created="2026-01-01T00:00:00Z"))
    assert tracker.write(record("bit_depth", suite="newer", key="4" * 16))
    standing = runs(tracker, "newer", "tags.superseded = 'no'")
    assert sorted({run.data.tags["key"] for run in standing}) == ["2" * 16, "4" * 16]
    assert len(standing) == 2 * 3
    assert len(runs(tracker, "newer", "tags.superseded = 'yes'")) == 2 * 3


def test_result_that_changed_is_written_anew(tracker):
    tracker.write(record(suite="changed"))
    assert tracker.write(record(suite="changed", robust=0.25))
    (system,) = runs(tracker, "changed", "tags.level = 'system' AND tags.superseded = 'no'")
    assert system.data.metrics["robust_accuracy"] == 25.0


def test_half_written_runs_go(tracker, server, monkeypatch):
    monkeypatch.setattr(tracker, "_artifacts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.write(record(suite="half"))
    assert len(runs(tracker, "half", "")) == 3
    assert track.Tracker(*server).write(record(suite="half"))
    assert len(runs(tracker, "half", "")) == 3
    assert len(runs(tracker, "half", "tags.complete = 'yes'")) == 1


def test_another_folders_half_written_runs_stay(tracker, server, monkeypatch, tmp_path):
    monkeypatch.setattr(tracker, "_artifacts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.write(record(suite="theirs"))
    assert track.Tracker(tmp_path, server[1]).write(record(suite="theirs"))
    assert len(runs(tracker, "theirs", "")) == 6


def test_publish_changes_nothing_the_second_time(tracker):
    made = [record(suite="published"), record("bit_depth", suite="published", key="b" * 16)]
    for each in made:
        tracker.write(each)
    board = tracker.home / "board"
    board.mkdir(exist_ok=True)
    (board / "leaderboard.md").write_text("| rank |", encoding="utf-8")
    assert list(tracker.publish(made)) == ["published"]
    where = tracker.server.get_experiment_by_name("published").experiment_id
    tags = tracker.server.get_experiment(where).tags
    assert tags["mlflow.note.content"].startswith("**=1** [bit_depth](#/experiments/")
    assert {f"mlflow.sharedViewState.{name}" for name in ("ranking", "cells", "by-defense")} <= set(tags)
    (first,) = runs(tracker, "published", "tags.level = 'leaderboard'")
    tracker.publish(made)
    assert tracker.server.get_experiment(where).tags == tags
    assert [r.info.run_id for r in runs(tracker, "published", "tags.level = 'leaderboard'")] == [first.info.run_id]
    assert [r.data.tags["rank"] for r in runs(tracker, "published", "tags.level = 'system'")] == ["=1", "=1"]


def test_server_that_does_not_answer(tmp_path):
    (tmp_path / "records").mkdir()
    path = tmp_path / "records" / "a.json"
    path.write_text(json.dumps(record()), encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        "import os, sys; os.environ['MLFLOW_TRACKING_URI'] = 'http://u:secret@127.0.0.1:9'; ",
    ]
    command[2] += "from harness.track import main; sys.exit(main())"
    done = subprocess.run([*command, str(tmp_path)], input=f"{path}\n", text=True, capture_output=True)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"error": "http://127.0.0.1:9 (MLFLOW_TRACKING_URI) does not answer"}


def test_ranks_of_other_sizes_say_so():
    tags = [mlflow_page.rank_tag(Ranked(2, False, False, {"size": size})) for size in ("official", "smoke", None)]
    assert tags == ["2", "2 smoke", "2"]


def test_rank_text():
    assert [
        mlflow_page.rank_text(Ranked(2, tied, flagged, {})) for tied in (False, True) for flagged in (False, True)
    ] == [
        "2",
        "2 ⚑",
        "=2",
        "=2 ⚑",
    ]


def test_answer_names_each_group():
    places = [Ranked(1, False, False, record("a", dataset=name, key=name)) for name in ("mnist", "digits")]
    first = mlflow_page.experiment_note("1", places, {"mnist": "r1"}, "").split("\n")[0]
    assert first.startswith(
        "**digits cnn** a 50.0 · **mnist cnn** [a](#/experiments/1/runs/r1?workflowType=machine_learning) 50.0"
    )


def test_descriptions_fit_and_hold_no_strangers_markup():
    cell = record()["cells"][0] | {"attack": "pgd" + "x" * 60}
    note = mlflow_page.system_note(record(cells=[cell] * 300), "1", ["r" * 32] * 300)
    assert len(note) <= mlflow_page.RUN_NOTE
    assert note.endswith("Repeat: `harness run toy`")
    evil = [
        Ranked(1, False, False, record("[x](javascript:1) <img> | `", key=str(i), victim=str(i))) for i in range(300)
    ]
    note = mlflow_page.experiment_note("1", evil, {}, "")
    assert len(note) <= mlflow_page.EXPERIMENT_NOTE
    assert "<" not in note
    assert "](javascript" not in note


def test_newest_and_digest():
    old, new = record(created="2026-01-01T00:00:00Z"), record(key="f" * 16, created="2026-01-02T00:00:00Z")
    assert newest([new, old]) == [new]
    assert digest(old) == digest(old | {"created": "later", "seconds": 3.0})
    assert digest(old) != digest(old | {"metrics": {}})


def test_short():
    assert short("gaussian_blur") == "gaussian_blur"
    assert short("blur + svm(canonical=cnn(seed=1), epsilon=0.2)", 20) == "blur + svm(…)"
    assert short("x" * 30, 10) == "x" * 9 + "…"


def test_losses_are_written_by_step(tracker):
    fits = [
        {"label": "fit cnn(epochs=[2]) on digits", "steps": [10, 20, 30], "losses": [2.0, float("nan"), 0.5]},
        {"label": "fit flow on digits", "steps": [5], "losses": [1.5]},
    ]
    assert tracker.write(record(suite="losses", training=fits))
    (system,) = runs(tracker, "losses", "tags.level = 'system'")
    name = "loss/fit cnn_epochs__2__ on digits"
    points = tracker.server.get_metric_history(system.info.run_id, name)
    assert [(point.step, point.value) for point in points] == [(10, 2.0), (30, 0.5)]
    assert system.data.metrics["loss/fit flow on digits"] == 1.5
    assert system.data.metrics["robust_accuracy"] == 50.0


def test_superseding_is_finished_after_a_kill(tracker, server, monkeypatch):
    tracker.write(record(suite="killed", key="1" * 16, created="2026-01-02T00:00:00Z"))
    newer = record(suite="killed", key="2" * 16, created="2026-01-03T00:00:00Z")
    monkeypatch.setattr(tracker, "_supersede", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.write(newer)
    assert not track.Tracker(*server).write(newer)
    standing = runs(tracker, "killed", "tags.superseded = 'no'")
    assert {run.data.tags["key"] for run in standing} == {"2" * 16}
    assert len(standing) == 3


def test_cells_of_a_request_that_was_repeated_go(tracker, monkeypatch):
    create, asked = tracker._create, []

    def repeated(where, content, tags):
        asked.append(content.name)
        if "mlflow.parentRunId" in tags and len(asked) == 2:
            create(where, content, tags)
        return create(where, content, tags)

    monkeypatch.setattr(track, "remote", lambda home: True)
    monkeypatch.setattr(track, "REQUESTS", 1)
    monkeypatch.setattr(tracker, "_create", repeated)
    assert tracker.write(record(suite="repeated"))
    (system,) = runs(tracker, "repeated", "tags.level = 'system'")
    assert len(runs(tracker, "repeated", f"tags.`mlflow.parentRunId` = '{system.info.run_id}'")) == 2


def test_more_parameters_and_points_than_a_batch_holds(tracker):
    steps = list(range(1_500))
    fits = [{"label": "fit cnn", "steps": steps, "losses": [float(step) for step in steps]}]
    parts = [{"name": "part", "parameters": {f"p{number}": number for number in range(150)}}]
    assert tracker.write(record(suite="long", training=fits, parts=parts))
    (system,) = runs(tracker, "long", "tags.level = 'system'")
    assert len(tracker.server.get_metric_history(system.info.run_id, "loss/fit cnn")) == 1_500
    assert system.data.params["part/p149"] == "149"
