"""A run folder of its own for every test, and parts written to files."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches a run folder, a tracking server or a data cache of the person who runs it."""
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "HARNESS_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def kept_environment() -> Iterator[None]:
    """The environment as it was, for fixtures that outlive a test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., str]:
    """Write a class to a file; gives `path:Class`."""

    def write(body: str, name: str = "part") -> str:
        path = tmp_path / "parts" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
        return f"{path}:{body.rpartition('class ')[2].split(':')[0].split('(')[0].strip()}"

    return write
