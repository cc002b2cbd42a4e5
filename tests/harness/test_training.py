"""Trainings that are looked after: states in files, curves, resuming after a kill, what reaches records."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from geometry.manifolds.flow import Flow
from geometry.manifolds.grid_vae import GridVAE
from harness.training import POINTS, Curve, Kept, kept, read, write
from harness.types import Split
from harness.victims.cnn import CNN


def test_nested_states_come_back_as_they_were(tmp_path: Path) -> None:
    given = {
        "list": [torch.arange(3), 1.0 / 3, None, True, "text"],
        "tuple": (0.9, 0.999),
        "keys": {0: {"moment": torch.ones(2, dtype=torch.float64)}, 1: {}},
        "bytes": torch.get_rng_state(),
        "nothing": torch.empty(0, 5),
        "infinite": math.inf,
    }
    write(tmp_path / "deep" / "state.safetensors", given)
    found = read(tmp_path / "deep" / "state.safetensors")
    assert found["tuple"] == (0.9, 0.999)
    assert found["list"][1:] == [1.0 / 3, None, True, "text"]
    assert list(found["keys"]) == [0, 1]
    assert found["keys"][0]["moment"].dtype == torch.float64
    assert torch.equal(found["bytes"], given["bytes"])
    assert found["nothing"].shape == (0, 5)
    assert found["infinite"] == math.inf
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.safetensors"]


def test_other_contents_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"holds a set; expected tensors"):
        write(tmp_path / "x", {"a": {1, 2}})
    (tmp_path / "y").write_bytes(b"no such file")
    with pytest.raises(ValueError, match="remove it to train anew"):
        read(tmp_path / "y")
    assert Kept(tmp_path / "y", "training").resumed() is None
    assert Kept(tmp_path / "none", "training").resumed() is None


def test_states_are_made_only_when_they_are_due(tmp_path: Path) -> None:
    made = []
    training = Kept(tmp_path / "state", "training", seconds=1000)
    training.save(lambda: made.append(1) or {})
    assert not made
    training.save(lambda: made.append(1) or {"step": 3}, now=True)
    assert made == [1]
    assert training.resumed() == {"step": 3}


@pytest.mark.parametrize("number", [1, 99, 100, 101, 250, 1000, 12_345])
def test_a_curve_keeps_means_of_equal_stretches(number: int) -> None:
    curve = Curve()
    for step in range(1, number + 1):
        curve.add(step, float(step))
    told = curve.told()
    steps, losses = told["steps"], told["losses"]
    assert 0 < len(steps) <= POINTS
    assert len(losses) == len(steps)
    assert steps == sorted(steps)
    if number > 2:
        assert max(abs(step - loss) for step, loss in zip(steps, losses, strict=True)) <= number / 50
    assert len({b - a for a, b in pairwise(steps)}) <= 1


def test_a_second_network_goes_on_where_the_first_ended() -> None:
    curve = Curve()
    for step in (1, 2, 3, 1, 2):
        curve.add(step, 1.0)
    assert curve.told()["steps"] == [1, 2, 3, 4, 5]


def test_parts_that_do_not_ask_are_given_nothing(tmp_path: Path) -> None:
    def asks(data: object, *, training: object = None) -> None: ...
    def does_not(data: object) -> None: ...

    with kept(tmp_path, "key", does_not, "") as (arguments, facts):
        assert arguments == {}
    assert facts == {}
    with kept(tmp_path, "key", asks, "") as (arguments, facts):
        arguments["training"].report(1, 0.5)
        arguments["training"].save(dict, now=True)
        assert len(list((tmp_path / "training").iterdir())) == 1
    assert facts == {"training": {"steps": [1], "losses": [0.5]}}
    assert not list((tmp_path / "training").iterdir())


def _interrupted(folder: Path, fit: Callable[..., None], error: type[BaseException]) -> None:
    with kept(folder, "key", fit, "") as (arguments, _):
        arguments["training"].save(dict, now=True)
        raise error


def test_an_interrupted_training_keeps_its_state_and_a_failed_one_does_not(tmp_path: Path) -> None:
    def fit(data: object, *, training: object = None) -> None: ...

    for error, left in ((KeyboardInterrupt, 1), (ValueError, 0)):
        with pytest.raises(error):
            _interrupted(tmp_path, fit, error)
        assert len(list((tmp_path / "training").iterdir())) == left


class _Stopping(Kept):
    """Saves at every update, and stops the process, as it were, after some of them."""

    limit = 10**9

    def save(self, state, *, now=False):
        super().save(state, now=True)
        if self.limit == 0:
            raise KeyboardInterrupt
        self.limit -= 1


PARTS = {
    "grid_vae": GridVAE(dim=3, width=4, epochs=1, batch_size=16),
    "flow": Flow(dim=2, width=2, epochs=1, batch_size=16, transforms=1, hidden=8, flow_epochs=1),
}


@pytest.mark.parametrize(("name", "limit"), [("grid_vae", 0), ("grid_vae", 137), ("flow", 700), ("flow", 1700)])
def test_resumed_weights_are_those_of_an_uninterrupted_training(name: str, limit: int, tmp_path: Path) -> None:
    """Killed in the midst of the first network, and, for a flow, of its second; 56 inputs leave batches waiting."""
    data = SimpleNamespace(x=torch.rand(56, 5, generator=torch.Generator().manual_seed(3)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = PARTS[name].fit(data)
        torch.manual_seed(0)
        stopped = _Stopping(tmp_path / "state", "training")
        stopped.limit = limit
        with pytest.raises(KeyboardInterrupt):
            PARTS[name].fit(data, training=stopped)
        torch.manual_seed(0)
        again = Kept(tmp_path / "state", "training")
        found = PARTS[name].fit(data, training=again)
    assert whole.keys() == found.keys()
    assert all(torch.equal(whole[key], found[key]) for key in whole)
    assert again.curve.latest == (800 if name == "grid_vae" else 2300)


@pytest.mark.parametrize("limit", [0, 60, 250])
def test_a_resumed_victim_is_that_of_an_uninterrupted_training(limit: int, tmp_path: Path) -> None:
    """With dropout, batch statistics, random moves and a schedule of learning rates."""
    rows = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    data = Split(rows, torch.arange(90) % 3, torch.arange(90), 3)
    part = CNN(width=4, hidden=8, shift=0.2, flip=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = part.fit(data)
        torch.manual_seed(0)
        stopped = _Stopping(tmp_path / "state", "training")
        stopped.limit = limit
        with pytest.raises(KeyboardInterrupt):
            part.fit(data, training=stopped)
        torch.manual_seed(0)
        again = Kept(tmp_path / "state", "training")
        found = part.fit(data, training=again)
    assert all(torch.equal(whole[key], found[key]) for key in whole)
    assert again.curve.latest == 400


@pytest.mark.slow
def test_a_killed_process_is_resumed_by_the_next(tmp_path: Path) -> None:
    """The whole way, by SIGKILL: task, store, file, record."""
    script = """
import sys, torch
from pathlib import Path
from harness import training
from harness.execute import run
from harness.grid import Grid
from harness.plan import Plan, fitted
from harness.spec import resolve
from harness.store import Store
from harness.types import Spec, Threat
training.Kept.seconds = 0.0
training.Kept.__init__.__defaults__ = (0.0, *training.Kept.__init__.__defaults__[1:])
plan = Plan(Grid("g", "g", (), (), (), (), (), Threat("linf", 1.0, "adaptive")))
spec = resolve(Spec.of("manifold", "grid_vae", dim=4, width=4))
part = fitted(plan, spec, Spec.of("dataset", "digits"))
store = Store(Path(sys.argv[1]))
done = run(list(plan.tasks.values()), store)
assert not done.failed, done.failed
print(part.key, store.record(part.key)["facts"]["training"]["steps"][-1])
"""
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    state = folder / "training"
    while process.poll() is None and not (state.is_dir() and list(state.glob("*.safetensors"))):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(state.glob("*.safetensors")), "the training ended before it was killed"
    ends = []
    for place in (folder, tmp_path / "whole"):
        out = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True, check=True)
        key, steps = out.stdout.split()
        ends.append(((place / key[:2] / f"{key}.safetensors").read_bytes(), steps))
        assert not list((place / "training").glob("*"))
    assert ends[0] == ends[1]
