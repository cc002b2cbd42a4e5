"""Parts written to a folder, a small grid on digits, and one run of it that many tests read."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import api

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch
"""
CENTRE = """
@dataclass(frozen=True)
class Centre:
    \"\"\"Rejects images whose mean is far from the usual.\"\"\"

    role: ClassVar[str] = "detector"

    def fit(self, data, *, victim):
        return {"mean": data.x.mean()}

    def load(self, state, *, victim):
        return lambda x: (x.flatten(1).mean(1) - state["mean"]).abs()
"""
VICTIM = {"mlp": {"epochs": 3, "width": 48}}
GRID: Mapping[str, Any] = {
    "name": "tiny",
    "datasets": ["digits"],
    "victims": [VICTIM],
    "defenses": ["none", {"bit_depth": {"bits": 2}}],
    "attacks": ["fgsm", {"pgd": {"steps": 4}}],
    "threats": [{"norm": "linf", "epsilons": [0.1, 0.2], "knowledge": ["oblivious", "adaptive"]}],
    "inputs": 48,
    "shard": 24,
}
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches a run folder, a tracking server or a data cache of the person who runs it."""
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def kept_environment() -> Iterator[None]:
    """The environment as it was, for fixtures that outlive a test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def write_part(folder: Path, body: str, name: str = "part") -> str:
    """The specification `path:Class` of a class written into a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
    return f"{path}:{body.split('class ')[1].split(':')[0].split('(')[0].strip()}"


@pytest.fixture
def part(tmp_path: Path) -> Write:
    """Write a class to a file; gives `path:Class`."""
    return lambda body, name="part": write_part(tmp_path / "parts", body, name)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, kept_environment: None) -> api.Result:
    """The grid of none, bit_depth and a detector, run to the end without tracking; `home(result)` is its folder."""
    folder = tmp_path_factory.mktemp("finished")
    centre = write_part(folder / "parts", CENTRE, "centre")
    grid = {**GRID, "defenses": [*GRID["defenses"], centre, ["gaussian_blur", centre]], "shifts": ["uniform_noise"]}
    return api.run(grid, home=folder / "home", executor="serial", track=False)


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory, finished: api.Result) -> Path:
    """The run folder of `finished`."""
    return Path(tmp_path_factory.getbasetemp()) / "finished0" / "home"
