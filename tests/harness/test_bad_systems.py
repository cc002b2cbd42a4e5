"""Defenses that break the rules: each gets a clear error or a flag, and the run goes on with the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import api
from harness.check import check

GRID: dict[str, Any] = {
    "name": "bad",
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 3, "width": 32}}],
    "attacks": ["fgsm"],
    "threats": [{"norm": "linf", "epsilons": [0.2], "knowledge": ["adaptive"]}],
    "inputs": 8,
    "shard": 8,
}
PARTS = """
class Counting:
    def __init__(self, answer):
        self.calls, self.answer = 0, answer

    def __call__(self, x):
        self.calls += 1
        return self.answer(x, self.calls)


class OneSize:
    def __init__(self):
        self.size = None

    def __call__(self, x):
        self.size = self.size or len(x)
        if len(x) != self.size:
            raise RuntimeError(f"made for {self.size} inputs, given {len(x)}")
        return x


def halved_in_place(x):
    return x.mul_(0.5)
"""
CLASS = """

@dataclass(frozen=True)
class {name}:
    \"\"\"Breaks a rule.\"\"\"

    role: ClassVar[str] = "{role}"

    def load(self, state, *, victim):
        return {call}
"""
BAD = {
    "HalfPurifier": ("purifier", "lambda x: x.half()"),
    "HalfDetector": ("detector", "lambda x: x.flatten(1).mean(1).half()"),
    "HalfClassifier": ("training", "lambda x: victim(x).half()"),
    "InPlace": ("purifier", "halved_in_place"),
    "InPlaceDetector": ("detector", "lambda x: halved_in_place(x).flatten(1).mean(1)"),
    "OneBatchSize": ("purifier", "OneSize()"),
    "OneLogit": ("training", "lambda x: victim(x)[:, :1]"),
    "Stateful": ("purifier", "Counting(lambda x, calls: x * (1 - 0.3 * (calls % 3)))"),
    "Turning": ("purifier", "Counting(lambda x, calls: x if calls < 60 else 1 - x)"),
    "OneClass": ("training", "lambda x: 0 * victim(x) + torch.eye(10)[0]"),
}
ERRORS = {
    "HalfPurifier": "HalfPurifier gives torch.float16; expected float32, the dtype of its input",
    "HalfDetector": "HalfDetector gives torch.float16; expected float32, the dtype of its input",
    "HalfClassifier": "the classifier gives torch.float16; expected float32",
    "InPlace": "the system writes to its input; work on a copy (x.clone())",
    "InPlaceDetector": "the system writes to its input; work on a copy (x.clone())",
    "OneBatchSize": "a part must take batches of every size",
    "OneLogit": "the classifier gives 1 logits; expected one for each of the 10 classes",
}
FLAGS = {"Stateful": "random", "Turning": "batch-dependent", "OneClass": "zero-gradient"}


@pytest.fixture
def bad(part: Callable[..., str]) -> dict[str, str]:
    """Every bad part, by name, as it is named on a command line."""
    text = PARTS + "".join(CLASS.format(name=name, role=role, call=call) for name, (role, call) in BAD.items())
    path = part(text, "bad").rpartition(":")[0]
    return {name: f"{path}:{name}" for name in BAD}


@pytest.mark.slow
def test_bad_systems_are_named_and_the_run_goes_on(bad: dict[str, str], tmp_path: Path) -> None:
    result = api.run(
        GRID | {"defenses": [*bad.values(), "none"]}, home=tmp_path / "run", executor="serial", track=False
    )
    records = {record["defense"].rpartition(":")[2]: record for record in result.records}
    assert set(records) == {*BAD, "none"}
    assert records["none"]["status"] == "complete"
    for name, words in ERRORS.items():
        assert records[name]["status"] == "failed", name
        assert words in str(records[name]["failed"]), name
        assert not records[name]["metrics"], name
    for name, flag in FLAGS.items():
        fired = {found["name"] for found in records[name]["flags"] if found["fired"]}
        assert flag in fired, name
        assert records[name]["status"] == "complete", name
    sound = {found["name"] for found in records["none"]["flags"] if found["fired"] and found["severity"] == "warning"}
    assert not sound


@pytest.mark.parametrize("name", [*ERRORS, "Stateful"])
def test_the_contract_tests_find_them_first(bad: dict[str, str], name: str) -> None:
    failed = [finding for finding in check(bad[name]) if not finding.passed]
    assert len(failed) == 1
    assert ERRORS.get(name, "the same batch gets other answers") in failed[0].message


def test_data_of_one_class_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    np.savez(path, x=np.random.default_rng(0).random((60, 1, 8, 8), dtype=np.float32), y=np.zeros(60, np.int64))
    grid = GRID | {"datasets": [{"arrays": {"path": str(path)}}]}
    with pytest.raises(ValueError, match="y holds 1 class in 60 labels; expected at least two"):
        api.run(grid, home=tmp_path / "run", executor="serial", track=False)
