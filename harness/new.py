"""A folder to begin a submission with: a working defense, its card and its test."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

_DEFENSE = '''"""{title}: what it does, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class {name}:
    """Rejects inputs whose features lie far from those of clean ones.

    Hyperparameters are fields with plain values; `harness list` and the board show them. Begin with this one: it scores an
    input by the squared distance of its features from their mean, in units of their variance.
    """

    # or "purifier": load gives (B, *S) -> (B, *S); or "training": a new classifier, (B, *S) -> (B, K)
    role: ClassVar[Literal["detector"]] = "detector"
    floor: float = 1e-3

    def fit(self, data: Split, *, victim: Network) -> State:
        """What is learned, as tensors: from clean inputs data.x (N, *S) in [0, 1], labels data.y (N,), data.num_classes.

        Files beside this one are read here or in load: Path(__file__).with_name("weights.safetensors").
        """
        features = victim.features(data.x)
        return {{"mean": features.mean(0), "variance": features.var(0) + self.floor}}

    def load(self, state: State, *, victim: Network) -> Score:
        """The score of inputs (B, *S) -> (B,), larger is more suspicious. The harness sets the threshold on clean inputs.

        Keep it differentiable where you can: an attacker is given its gradient, and where there is none, stand-ins for it.
        """

        def score(x: Tensor) -> Tensor:
            return ((victim.features(x) - state["mean"]).square() / state["variance"]).sum(1)

        return score
'''
_CARD = """# What the board shows beside the figures; all of it may be left out.
name: {title}
authors: []
paper: ""
# What you expect, as shares from 0 to 1; the board shows it beside what was measured.
claimed:
  # clean_accuracy: 0.90
  # robust_accuracy: 0.50
# Packages besides those of the harness, as pip takes them; only wheels are installed.
requirements: []
"""
_TEST = '''"""The contract, and what is particular to {name}."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.check import check
from harness.types import Split
from harness.victims.mlp import MLP

DEFENSE = Path(__file__).with_name("defense.py")


def test_keeps_the_contract() -> None:
    broken = [finding for finding in check(f"{{DEFENSE}}:{name}") if not finding.passed]
    assert not broken, broken[0]


def test_scores_noise_above_clean_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEFENSE.parent))
    from defense import {name}

    torch.manual_seed(0)
    x = torch.rand(256, 1, 8, 8) * 0.2
    data = Split(x, torch.arange(256) % 4, torch.arange(256), 4)
    victim = MLP(width=16, epochs=1).load(MLP(width=16, epochs=1).fit(data))
    part = {name}()
    score = part.load(part.fit(data, victim=victim), victim=victim)
    with torch.no_grad():
        assert score(torch.rand(64, 1, 8, 8)).median() > score(x[:64]).median()
'''


def defense(name: str, folder: Path) -> list[Path]:
    """Write a folder for a new defense beside what is there; gives its files. Raises ValueError, FileExistsError.

    name: in words or as a class; the folder bears it with underscores.
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise ValueError(f"'{name}' makes no name of a class; give letters first, such as 'my_defense'")
    place = folder / "_".join(word.lower() for word in words)
    if place.exists():
        raise FileExistsError(f"{place} is there already; give another name or remove it")
    title = " ".join(words).capitalize()
    place.mkdir(parents=True)
    written = []
    for file, text in (("defense.py", _DEFENSE), ("submission.yaml", _CARD), ("test_defense.py", _TEST)):
        path = place / file
        path.write_text(text.format(name=class_name, title=title), encoding="utf-8")
        written.append(path)
    return written
