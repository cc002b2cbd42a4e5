"""What a part's fit is given while it trains: a state to resume from, a loss curve, and a bar of progress."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import progress
from harness.store import write_whole
from harness.types import Checkpoint

SECONDS = 30.0  # between two saved states
POINTS = 100  # of a loss curve, at most


def wanted(fit: Callable[..., Any]) -> bool:
    """Whether a part's `fit` asks for its training to be looked after, by a parameter `training`."""
    return "training" in inspect.signature(fit).parameters


@dataclass
class Curve:
    """Mean losses over stretches of as many reports, at the last step of each; stretches double when there are too many.

    A step that is not larger than the last begins another curve, as of a part that trains two networks; its steps are counted on.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    stretch: int = 1
    before: int = 0
    latest: int = 0
    waiting: list[float] = field(default_factory=list)

    def add(self, step: int, loss: float) -> None:
        """A report."""
        if self.before + step <= self.latest:
            self.before = self.latest
        self.latest = self.before + step
        self.waiting.append(loss)
        if len(self.waiting) == self.stretch:
            self.steps.append(self.latest)
            self.losses.append(sum(self.waiting) / self.stretch)
            self.waiting = []
        if len(self.steps) == 2 * POINTS:
            self.losses = [(a + b) / 2 for a, b in zip(self.losses[::2], self.losses[1::2], strict=True)]
            self.steps, self.stretch = self.steps[1::2], 2 * self.stretch

    def told(self) -> dict[str, list[Any]]:
        """For a record: steps and losses to six digits, at most 100 of them."""
        every = -(-len(self.steps) // POINTS) or 1
        steps, losses = self.steps[every - 1 :: every], self.losses[every - 1 :: every]
        return {"steps": steps, "losses": [float(f"{loss:.6g}") for loss in losses]}

    def state(self) -> dict[str, Any]:
        """All of it, for a saved state."""
        return dict(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was when it was saved."""
        vars(self).update({name: list(value) if isinstance(value, list) else value for name, value in state.items()})


@dataclass
class Kept:
    """A `Training` whose states stand in a file; `title` names it beside its bar.

    The file is written to a temporary name and renamed, so that it is there whole or not at all. A file that cannot be read
    counts as none.
    """

    path: Path
    title: str
    seconds: float = SECONDS
    curve: Curve = field(default_factory=Curve)
    _last: float = field(default_factory=time.monotonic)
    _bar: progress.Bar | None = None

    def resumed(self) -> Checkpoint | None:
        """The last state that was saved, by this process or by one that was killed; None where there is none."""
        try:
            found = read(self.path)
        except (OSError, ValueError, KeyError):
            return None
        self.curve.restore(found["curve"])
        state: Checkpoint = found["state"]
        return state

    def save(self, state: Callable[[], Checkpoint], *, now: bool = False) -> None:
        """Save what `state` gives, called only where the last time is 30 seconds ago, or `now`."""
        if now or time.monotonic() - self._last >= self.seconds:
            write(self.path, {"state": dict(state()), "curve": self.curve.state()})
            self._last = time.monotonic()

    def report(self, step: int, loss: float, total: int | None = None) -> None:
        """The loss after so many steps, of `total`."""
        self.curve.add(step, loss)
        if self._bar is None:
            self._bar = progress.Bar(self.title)
        self._bar.show(step, total, f"loss {loss:.4g}")

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def forget(self) -> None:
        """Remove the saved state."""
        self.path.unlink(missing_ok=True)


@contextmanager
def kept(
    folder: Path, key: str, fit: Callable[..., Any], title: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Keyword arguments for a `fit`, empty unless it asks, and facts for the record, filled when the block ends well.

    States stand in `folder`/training under the task's key until then; after an error too, as after a kill.
    """
    facts: dict[str, Any] = {}
    if not wanted(fit):
        yield {}, facts
        return
    training = Kept(folder / "training" / f"{key}.safetensors", title)
    try:
        yield {"training": training}, facts
    except Exception:
        training.forget()  # a diverged training would diverge again
        raise
    finally:
        training.end()
    if training.curve.steps:
        facts["training"] = training.curve.told()
    training.forget()


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Nested dicts, lists and tuples of tensors, numbers, texts, booleans and None as one safetensors file, by rename."""
    from safetensors.torch import save

    tensors: list[Tensor] = []
    structure = json.dumps(_packed(state, tensors))
    content = save({str(place): tensor for place, tensor in enumerate(tensors)}, {"structure": structure})
    write_whole(path, content)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, tensors on the CPU; raises ValueError for other files, OSError where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            structure = json.loads((file.metadata() or {})["structure"])
            found: dict[str, Any] = _unpacked(structure, file.get_tensor)
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{path} holds no saved state ({type(error).__name__}); remove it to train anew") from None
    return found


def _packed(value: Any, tensors: list[Tensor]) -> Any:
    """JSON that keeps kinds and keys, tensors by their places in a list."""
    if isinstance(value, Tensor):
        tensors.append(value.detach().cpu().clone(memory_format=torch.contiguous_format))
        return {"tensor": len(tensors) - 1}
    if isinstance(value, Mapping):
        return {"dict": [[key, _packed(each, tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [_packed(each, tensors) for each in value]}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(
        f"a saved state holds a {type(value).__name__}; expected tensors, numbers, texts, None, or dicts and lists of those"
    )


def _unpacked(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensor(str(content))
    if kind == "dict":
        return {key: _unpacked(each, tensor) for key, each in content}
    found = [_unpacked(each, tensor) for each in content]
    return tuple(found) if kind == "tuple" else found
