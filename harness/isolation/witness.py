"""Whether a submission's answers are those of one function of the input: a few questions are asked again, here and elsewhere.

Elsewhere is a process that has seen nothing, with some of the rows of each question, in another order: there is no past, no
first batch, no size of a batch that an answer could depend on. Gradients are compared as well as values.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.isolation.errors import Rejected
from harness.isolation.functions import Remote

FIRST, LATER = 4, 2  # questions that are remembered: of the first, and of all
GRADIENTS = 3  # questions whose gradients are compared
SAME = 0.9  # cosine of gradients at least
FEW = 0.05  # of the rows of a question may differ by rounding that grows
CLOSE = 0.01  # of the mean length of an answer


@dataclass(eq=False)
class Question:
    """What was asked of a function, the answer, and along what its gradient was asked for, if it was."""

    function: Remote
    arguments: tuple[Any, ...]
    answer: Tensor
    along: Tensor | None = None

    def noted(self, along: Tensor) -> None:
        """The gradient is asked for."""
        self.along = along.detach().clone()

    def some(self) -> Tensor:
        """Some of the rows, at least half, in a random order."""
        number = len(self.answer)
        order = sorted(range(number), key=lambda _: secrets.randbits(32))
        return torch.tensor(order[: number - secrets.randbelow(number // 2 + 1)], device=self.answer.device)

    def of(self, rows: Tensor) -> tuple[Any, ...]:
        """The arguments of some rows."""
        return tuple(a[rows] if isinstance(a, Tensor) or hasattr(a, "stream") else a for a in self.arguments)

    def slope(self, function: Callable[..., Tensor], rows: Tensor) -> Tensor:
        """The gradient of some rows by the input, zero where it is cut; weighted as it was asked for, else by signs."""
        x, *rest = self.of(rows)
        x = x.detach().requires_grad_()
        along = self.along
        if along is None:
            along = torch.where(torch.arange(self.answer.numel(), device=x.device) % 3 > 0, 1.0, -1.0)
            along = along.reshape(self.answer.shape)
        with torch.enable_grad():
            answer = function(x, *rest)
            if not answer.requires_grad:
                return torch.zeros_like(x)
            found = torch.autograd.grad(answer, x, along[rows].to(answer.dtype), allow_unused=True)[0]
        return torch.zeros_like(x) if found is None else found


class Witness:
    """Remembers a few questions with their answers, and asks them again when they are not expected."""

    def __init__(self) -> None:
        self.first: list[Question] = []
        self.later: list[Question] = []
        self.asked = 0
        self.differentiated = False  # whether gradients were asked for

    @property
    def kept(self) -> list[Question]:
        """What is remembered."""
        return [*self.first, *self.later]

    def saw(self, function: Remote, arguments: tuple[Any, ...], answer: Any) -> None:
        """An answer was given; now and then, more and more rarely, an earlier question is asked again."""
        if not isinstance(answer, Tensor) or not answer.ndim or not len(answer) or function.method or function.mode:
            return
        self.asked += 1
        self.differentiated |= any(a.requires_grad for a in arguments if isinstance(a, Tensor))
        power = self.asked & (self.asked - 1) == 0
        if len(self.first) < FIRST and power:
            self.first.append(_question(function, arguments, answer))
            return
        place = secrets.randbelow(self.asked)
        if place < LATER:
            question = _question(function, arguments, answer)
            self.later[place : place + 1] = [question]
        if power:
            for place in {0, secrets.randbelow(len(self.first))}:
                _again(self.first[place])

    def ask_again(self) -> None:
        """Ask everything that is remembered again, in the same process."""
        for question in self.kept:
            _again(question)

    def comparisons(self) -> list[Comparison]:
        """What is to be asked in a process that has seen nothing: gradients are asked for while the first one lives."""
        order = sorted(self.kept, key=lambda _: secrets.randbits(32))
        chosen = [*self.later, *self.first[:: -1 if secrets.randbits(1) else 1]] if self.differentiated else []
        asked = [question for question in chosen if _differentiable(question)][:GRADIENTS]
        slopes = {question: question.slope(question.function, _all(question)) for question in asked}
        return [Comparison(question, slopes.get(question), place == 0) for place, question in enumerate(order)]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A question with its answer and gradient; alone: one input is asked about alone as well, of whatever shape the answer is."""

    question: Question
    slope: Tensor | None
    alone: bool = False

    def compare(self, function: Callable[..., Tensor]) -> None:
        """Raise Rejected where a function of another process answers otherwise, or has another gradient."""
        question, rows = self.question, self.question.some()
        before, now = question.answer[rows], _answer(question, function, rows)
        if self.alone and len(rows) > 1:
            _answer(question, function, rows[:1])
        how = f"in a process that saw nothing before, in a batch of {len(rows)} of {len(question.answer)}"
        other = _differ(before, now)
        if _many(other):
            every = _all(question)
            if not _many(_differ(question.answer, _answer(question, function, every))):
                raise Rejected(
                    f"contract: {int(other.sum())} of {len(rows)} answers are others in a batch of {len(rows)} than in one of "
                    f"{len(every)}; each input is answered by itself (evaluation mode, no statistics of the batch)"
                )
            raise Rejected(f"dishonesty: {int(other.sum())} of {len(rows)} answers are others {how}")
        if self.slope is None:
            return
        other = _turned(self.slope[rows], question.slope(function, rows))
        if _many(other):
            raise Rejected(f"dishonesty: {int(other.sum())} of {len(rows)} gradients are others {how}")


@torch.no_grad()
def _answer(question: Question, function: Callable[..., Tensor], rows: Tensor) -> Tensor:
    """The answer to some rows of a question, of the right shape."""
    now, expected = function(*question.of(rows)), (len(rows), *question.answer.shape[1:])
    if isinstance(now, Tensor) and now.shape == expected:
        return now
    given = tuple(now.shape) if isinstance(now, Tensor) else type(now).__name__
    raise Rejected(
        f"contract: a batch of {len(rows)} is answered by {given}; expected {expected}, as of larger batches"
    )


def _all(question: Question) -> Tensor:
    return torch.arange(len(question.answer), device=question.answer.device)


def _question(function: Remote, arguments: tuple[Any, ...], answer: Tensor) -> Question:
    kept = tuple(a.detach().clone() if isinstance(a, Tensor) else a for a in arguments)
    question = Question(function, kept, answer.detach().clone())
    if answer.requires_grad:
        answer.register_hook(question.noted)  # type: ignore[no-untyped-call]
    return question


def _differentiable(question: Question) -> bool:
    x = question.arguments[0]
    return isinstance(x, Tensor) and x.is_floating_point() and question.answer.is_floating_point()


@torch.no_grad()
def _again(question: Question) -> None:
    before, now = question.answer, question.function(*question.arguments)
    if not isinstance(now, Tensor) or now.shape != before.shape:
        raise Rejected("dishonesty: the same question gets an answer of another shape when it is asked again")
    one, two = before.reshape(len(before), -1).double(), now.reshape(len(before), -1).double()
    scale = max(float(one[torch.isfinite(one)].abs().mean().nan_to_num(0.0)), 1e-6)
    broken = ~torch.isclose(one, two, rtol=1e-3, atol=1e-3 * scale, equal_nan=True).all(1)
    if bool(broken.any()):
        raise Rejected(
            f"dishonesty: {int(broken.sum())} of {len(before)} answers are others when the same batch is asked again; a part "
            "that draws random numbers says `random: ClassVar[bool] = True` and takes (x, draws)"
        )


def _many(other: Tensor) -> bool:
    """Whether more rows are others than rounding explains."""
    return int(other.sum()) > max(1.0, FEW * len(other)) or bool(len(other) == other.sum() == 1)


def _differ(one: Tensor, two: Tensor) -> Tensor:
    """Rows (B,) that are others by more than rounding; what is not finite has to be where it was."""
    one, two = one.reshape(len(one), -1).double(), two.reshape(len(one), -1).double()
    finite = torch.isfinite(one) & torch.isfinite(two)
    other = (torch.isfinite(one) != torch.isfinite(two)).any(1)
    one, two = one.where(finite, 0), two.where(finite, 0)
    other |= (one - two).norm(dim=1) > CLOSE * max(float(one.norm(dim=1).mean()), 1e-6)
    return other


def _turned(one: Tensor, two: Tensor) -> Tensor:
    """Rows (B,) whose gradient has another direction, or is there in one case only; tiny ones have none."""
    one, two = (slope.reshape(len(slope), -1).double().nan_to_num(0.0, 0.0, 0.0) for slope in (one, two))
    long = max(float(one.norm(dim=1).mean()), float(two.norm(dim=1).mean()), 1e-30)
    turned: Tensor = torch.nn.functional.cosine_similarity(one, two, eps=1e-30) < SAME
    turned &= (one.norm(dim=1) > CLOSE * long) | (two.norm(dim=1) > CLOSE * long)
    return turned


class Witnessed:
    """A function on the other side whose answers are remembered now and then."""

    def __init__(self, remote: Remote, witness: Witness) -> None:
        self.remote, self.witness = remote, witness

    def __call__(self, *arguments: Any) -> Tensor:
        answer: Tensor = self.remote(*arguments)
        self.witness.saw(self.remote, arguments, answer)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["remote"], name)
