"""Answers and gradients that are not those of one function of the input are found; honest ones are left in peace."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.draws import CounterDraws
from harness.isolation import places
from harness.isolation.errors import OverMemory, Rejected, SubmissionError, printable
from harness.isolation.policy import Isolation, Limits
from harness.isolation.remote import Session
from harness.plan import Fitted, Pipeline
from harness.spec import build, parse
from harness.types import Spec, Split

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation is Linux's")

PART = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        return -slope


@dataclass(frozen=True)
class Mine:
    role: ClassVar[str] = "purifier"
    random: ClassVar[bool] = {random}

    def load(self, state, *, victim):
        asked, seen = [0], []
        def call(x{draws}):
            asked[0] += 1
{body}
        return call
"""
DISHONEST = {
    "is drawn back to what it saw first": (
        """
        if not seen:
            seen.append(x.detach())
        far = torch.cdist(x.detach().flatten(1), seen[0].flatten(1), p=float("inf"))
        near, place = far.min(1)
        drawn = ((near > 0.05) & (near < 0.21)).view(-1, 1, 1, 1)
        return x + drawn * (seen[0][place] - x.detach())
        """,
        "answers are others in a process that saw nothing before",
    ),
    "tells batches by their size": (
        "return x.clone() if len(x) == 8 else x.clamp(0.2, 0.8)",
        "contract: . of . answers are others in a batch of . than in one of 8; each input is answered by itself",
    ),
    "uses the batch's mean": ("return x - x.mean(0) + 0.5", "answered by itself"),
    "drops the dimension of a single input": (
        "return x.squeeze(0)",
        r"contract: a batch of 1 is answered by \(1, 8, 8\); expected \(1, 1, 8, 8\)",
    ),
    "has a gradient of its own for the probe's batches": (
        "return x.clone() if len(x) == 8 else Turned.apply(x)",
        "gradients are others in a process that saw nothing before",
    ),
    "turns its gradient when it has been attacked long enough": (
        "return x.clone() if asked[0] < 12 else Turned.apply(x)",
        "gradients are others",
    ),
    "has no gradient later": (
        "return x.clone() if asked[0] < 12 else x.clone().detach() + 0 * x.sum()",
        "gradients are others",
    ),
}
HONEST = {
    "rounds": "return (8 * x).round() / 8",
    "is cut": "return x.detach().sqrt()",
    "saturates": "return (200 * (x - 0.5)).sigmoid()",
    "is exact": "return torch.nn.functional.avg_pool2d(x, 3, 1, 1)",
    "is constant": "return 0 * x",
    "is not finite in places": "return torch.where(x > 0.99, x / 0, x)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the submissions of these tests lie: one nursery for all."""
    return tmp_path_factory.mktemp("submissions")


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    """A child of the strongest mode."""
    isolation = Isolation(places.best(), Limits(answer=40, fit=40, memory=1, output=1, files=16), files=(str(folder),))
    made = Session(isolation, "cpu", lambda part: VICTIM, ["/nowhere"])
    yield made
    made.abandon()


def _victim() -> dict[str, Tensor]:
    x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found: dict[str, Tensor] = build(MLP).fit(Split(x, torch.arange(64) % 10, torch.arange(64), 10))
    return found


(MLP,) = parse("victim", {"mlp": {"epochs": 1, "width": 8}})
VICTIM = _victim()
X = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
DRAWS = CounterDraws("secret", torch.arange(8))


def loaded(session: Session, folder: Path, body: str, *, random: bool = False) -> Callable[..., Tensor]:
    """A purifier with a body, on the other side."""
    file = folder / f"part_{len(list(folder.iterdir()))}.py"
    inner = textwrap.indent(textwrap.dedent(body).strip(), " " * 12)
    file.write_text(PART.format(body=inner, random=random, draws=", draws" if random else ""), encoding="utf-8")
    (spec,) = parse("defense", f"{file}:Mine")
    part = Fitted(spec, "part", False)
    return session.defense(part, Pipeline(Spec.of("dataset", "digits"), Fitted(MLP, "victim", True), (part,)))


def attacked(call: Callable[..., Tensor], *rest: object) -> None:
    """Sixteen steps such as an attack makes, each with a gradient."""
    x = X
    for _ in range(16):
        x = x.detach().requires_grad_()
        answer = call(x, *rest)
        if answer.requires_grad:
            (slope,) = torch.autograd.grad((answer * torch.linspace(-1, 1, 64).view(1, 1, 8, 8)).sum(), x)
            x = (x + 0.02 * slope.sign()).clamp(X - 0.2, X + 0.2)
        else:
            x = (x + 0.02).clamp(X - 0.2, X + 0.2)


@pytest.mark.parametrize("name", DISHONEST)
def test_what_is_no_function_of_the_input_is_rejected(session: Session, folder: Path, name: str) -> None:
    body, message = DISHONEST[name]
    attacked(loaded(session, folder, body))
    with pytest.raises(Rejected, match=message):
        session.end()


@pytest.mark.parametrize("name", HONEST)
def test_honest_parts_are_left_in_peace(session: Session, folder: Path, name: str) -> None:
    attacked(loaded(session, folder, HONEST[name]))
    session.end()


def test_random_parts_are_left_in_peace(session: Session, folder: Path) -> None:
    call = loaded(session, folder, "return (x + 0.1 * draws.normal(1, 8, 8)).clamp(0, 1)", random=True)
    attacked(call, DRAWS)
    session.end()


def test_one_input_is_enough(session: Session, folder: Path) -> None:
    call = loaded(session, folder, "return x.clone() if asked[0] < 3 else 1 - x")
    for _ in range(3):
        call(X[:1])
    with pytest.raises(Rejected, match="1 of 1 answers are others"):
        session.end()


def test_threads_are_counted(session: Session, folder: Path) -> None:
    body = """
    import threading, time
    threading.stack_size(1 << 16)
    for _ in range(300):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    time.sleep(5)
    return x
    """
    call = loaded(session, folder, body)
    with pytest.raises(Rejected, match="starts more than 256 threads"):
        call(X)


def test_classes_of_official_inputs_are_out_of_reach(session: Session, folder: Path) -> None:
    body = """
    import glob, harness
    raise RuntimeError(str([open(name, "rb").read(2) for name in glob.glob(harness.__path__[0] + "/reference/*.gz")]))
    """
    call = loaded(session, folder, body)
    with pytest.raises(
        (SubmissionError, Rejected), match=r"^\[\]$|RuntimeError: \[\]|Permission|reads what it may not"
    ):
        call(X)


def test_bytes_that_are_no_truth_values(session: Session, folder: Path) -> None:
    body = """
    return torch.full((8,), 2, dtype=torch.uint8).view(torch.bool)
    """
    answer = loaded(session, folder, body)(X)
    assert answer.dtype == torch.bool
    assert answer.sum() == len(answer.nonzero()) == 8
    assert torch.equal(answer.view(torch.uint8), torch.ones(8, dtype=torch.uint8))


def test_errors_do_not_write_to_the_terminal(session: Session, folder: Path) -> None:
    call = loaded(session, folder, r"""raise ValueError("\x1b]0;owned\x07 \u202e ends\nhere")""")
    with pytest.raises(SubmissionError) as caught:
        call(X)
    assert str(caught.value) == printable(str(caught.value))
    assert "owned" in str(caught.value)
    assert str(caught.value).endswith("ends\nhere")


def test_the_harness_holds_no_more_for_it_than_it_may_itself(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from harness.isolation.processes import memory

    own = os.getpid()
    call = loaded(session, folder, "import time\ntime.sleep(1.5)\nreturn x")
    monkeypatch.setattr("harness.isolation.sandbox.memory", lambda pid: memory(pid) + (2 << 30) * (pid == own))
    with pytest.raises(OverMemory, match="makes the harness hold more than 1 GiB"):
        call(X)
