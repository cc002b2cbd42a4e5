"""Every registered part keeps its contract, and broken parts are refused with a message that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import registry
from harness.check import check

SLOW = {"resnet18", "timm", "torchvision", "lift_map_detect"}  # minutes, or a name after the slash: see their own tests
DATA = {
    "arrays",
    "image_folder",
    "mnist",
    "kmnist",
    "fashion_mnist",
    "rotated_fashion",
    "cifar10",
    "brain92",
    "brain_volumes",
    "given_examples",
    "neural_similarity",
}  # need files
NAMES = [
    (kind, name)
    for kind in ("defense", "attack", "victim", "dataset", "shift", "manifold", "measure")
    for name in registry.names(kind)
    if name not in SLOW | DATA | {"foolbox"}
]
NAMES += [
    ("attack", name) for name in ("foolbox/LinfPGD", "foolbox/L2DeepFoolAttack", "foolbox/LinfFastGradientAttack")
]


def failures(part: str) -> list[str]:
    return [f"{finding.test}: {finding.message}" for finding in check(part) if not finding.passed]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=lambda value: str(value))
def test_registered_parts_keep_their_contract(kind: str, name: str) -> None:
    findings = check(f"{kind}/{name}")
    assert [f for f in findings if not f.passed] == []
    assert len(findings) > 2


HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch
"""
DEFENSE = '''
@dataclass(frozen=True)
class Part:
    """A defense."""

    role: ClassVar[str] = "{role}"

    def load(self, state, *, victim):
        return {call}
'''
ATTACK = '''
@dataclass(frozen=True)
class Part:
    """An attack."""

    norms: ClassVar[tuple] = ("linf",)
    needs: ClassVar[str] = "decision"
    minimal: ClassVar[bool] = False

    def perturb(self, view, x, y, budget, draws):
        {body}
'''


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    def write(body: str) -> str:
        (tmp_path / "part.py").write_text(HEAD + body, encoding="utf-8")
        return f"{tmp_path / 'part.py'}:Part"

    return write


@pytest.mark.parametrize(
    ("role", "call"),
    [
        ("detector", "lambda x: x.flatten(1).mean(1)"),
        ("purifier", "lambda x: (x * 0.9).clamp(0, 1)"),
        ("training", "victim"),
    ],
)
def test_sound_defenses_pass(written: Callable[[str], str], role: str, call: str) -> None:
    assert failures(written(DEFENSE.format(role=role, call=call))) == []


@pytest.mark.parametrize(
    ("role", "call", "words"),
    [
        ("purifier", "lambda x: x.mul_(0.5)", "writes to its input"),
        ("detector", "lambda x: x.mul_(0.5).flatten(1).mean(1)", "writes to its input"),
        ("detector", "lambda x: x.flatten(1)", "64); expected a tensor of shape ("),
        ("purifier", "lambda x: x[:, :, 1:]", "1, 7, 8); expected a tensor of shape ("),
        ("detector", "lambda x: x.flatten(1).mean(1).half()", "gives torch.float16; expected float32"),
        ("detector", "lambda x: (x.flatten(1).mean(1) * 100).long()", "gives torch.int64; expected"),
        ("purifier", "lambda x: x.half()", "gives torch.float16; expected float32"),
        ("detector", "lambda x: x.flatten(1).mean(1) / 0 * 0", "not finite"),
        ("purifier", "lambda x: x / x", "expected [0, 1], finite"),
        ("purifier", "lambda x: x * 2 - 0.5", "expected [0, 1], finite"),
        ("detector", "lambda x: x.flatten(1).mean(1) - x.mean()", "depend on companions"),
        ("purifier", "lambda x: (x - x.mean(0) + 0.5).clamp(0, 1)", "depend on companions"),
        ("detector", "lambda x: torch.rand(len(x))", "the same batch gets other answers"),
        ("purifier", "lambda x: (x + 0.3 * torch.rand_like(x)).clamp(0, 1)", "random: ClassVar[bool] = True"),
        ("detector", "3", "load gives int; expected a callable"),
        ("training", "lambda x: victim(x).argmax(1)", "expected"),
        ("training", "lambda x: victim(x) * float('nan')", "not finite"),
        ("detektor", "lambda x: x", "one of none, training, purifier, detector, not 'detektor'"),
    ],
)
def test_broken_defenses_are_refused(written: Callable[[str], str], role: str, call: str, words: str) -> None:
    found = failures(written(DEFENSE.format(role=role, call=call)))
    assert len(found) == 1
    assert words in found[0]


STATEFUL = '''
class _Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x.flatten(1).mean(1) * self.calls


@dataclass(frozen=True)
class Part:
    """Another score at each call."""

    role: ClassVar[str] = "detector"

    def load(self, state, *, victim):
        return _Counting()
'''
PLAIN = STATEFUL.replace("@dataclass(frozen=True)", "")
LOOSE = STATEFUL.replace("frozen=True", "frozen=False")
NO_LOAD = '@dataclass(frozen=True)\nclass Part:\n    """No load."""\n\n    role: ClassVar[str] = "detector"\n'
NO_DOCSTRING = DEFENSE.format(role="detector", call="lambda x: x.flatten(1).mean(1)").replace(
    '    """A defense."""\n', ""
)
NO_DICT = (
    DEFENSE.format(role="detector", call="lambda x: x.flatten(1).mean(1)")
    + "\n    def fit(self, data, *, victim):\n        return 3\n"
)
BREAKS_IMPORT = STATEFUL + "\nraise NameError('nothing here')\n"
NO_DEFAULT = STATEFUL.replace("    def load", "    size: int\n\n    def load")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (STATEFUL, "the same batch gets other answers"),
        (PLAIN, "Part is not a dataclass; put @dataclass(frozen=True) above it"),
        (LOOSE, "Part can be changed; put @dataclass(frozen=True) above it"),
        (NO_LOAD, "has no method `load`"),
        (NO_DOCSTRING, "no docstring"),
        (NO_DICT, "fit gives int; expected a dict of tensors"),
        (BREAKS_IMPORT, "NameError: nothing here"),
    ],
)
def test_broken_classes_are_refused(written: Callable[[str], str], body: str, words: str) -> None:
    found = failures(written(body))
    assert len(found) == 1
    assert words in found[0]


def test_a_parameter_without_default_is_named(written: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match=r"parameter 'size' \(int\) has no default"):
        check(written(NO_DEFAULT))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return x + 2 * budget.epsilon", "leave the linf ball or the box"),
        ("return x - 0.5 * budget.epsilon", "leave the linf ball or the box"),
        ("return x * float('nan')", "leave the linf ball or the box"),
        ("return (x + budget.epsilon * torch.rand(x.shape)).clamp(0, 1)", "random numbers come from `draws` only"),
        ("return x.add_(budget.epsilon).clamp_(0, 1)", "writes to its input"),
        ("return x[:1]", "expected a tensor of shape (32, 1, 8, 8)"),
        ("return None", "gives NoneType"),
        (
            "return (x + budget.epsilon * (x > x.mean())).clamp(0, 1)",
            "answers change with the other inputs of the batch",
        ),
    ],
)
def test_broken_attacks_are_refused(written: Callable[[str], str], body: str, words: str) -> None:
    found = failures(written(ATTACK.format(body=body)))
    assert len(found) == 1
    assert words in found[0]


def test_a_sound_attack_passes(written: Callable[[str], str]) -> None:
    assert (
        failures(written(ATTACK.format(body="return (x + budget.epsilon * draws.uniform(*x.shape[1:])).clamp(0, 1)")))
        == []
    )


def test_kinds_are_told_by_their_methods(written: Callable[[str], str]) -> None:
    shift = '@dataclass(frozen=True)\nclass Part:\n    """A shift."""\n\n    def apply(self, x, draws):\n        return x.flip(3)\n'
    assert [f.test for f in check(written(shift))][-1] == "shift keeps shape"
    with pytest.raises(registry.UnknownName, match="neither KIND/NAME"):
        check("nothing")
