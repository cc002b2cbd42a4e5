"""Calls across the boundary, in both directions, with gradients: each side offers functions of tensors to the other."""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.isolation.advice import advice
from harness.isolation.codec import pack, unpack
from harness.isolation.errors import SubmissionError, printable
from harness.isolation.functions import Number, Remote, RemoteDraws
from harness.rewritten import Smooth, Unrolled, Watch

OFFERED = ("surrogate", "objective", "encode", "decode", "features", "head")
_MODES = {"smooth": Smooth, "unrolled": Unrolled}
_MOST = 1 << 26  # random numbers in one question


class Pipe(Protocol):
    """What messages go through."""

    def send(self, header: dict[str, Any], tensors: Sequence[Tensor]) -> None: ...

    def receive(self) -> tuple[dict[str, Any], list[Tensor]]: ...


@dataclass
class _Kept:
    """Results whose graph the other side may still ask to go back through."""

    outputs: list[Tensor]
    leaves: list[Tensor]


class Endpoint:
    """One side of a boundary. `serves`: what the other may ask for by name, besides calls of what it was given."""

    def __init__(self, pipe: Pipe, serves: Mapping[str, Callable[..., Any]] | None = None, device: str = "cpu") -> None:
        self.pipe, self.device = pipe, device
        self.serves = dict(serves or {})
        self.objects: dict[int, Any] = {}
        self.kept: dict[int, _Kept] = {}
        self.numbers = itertools.count(1)
        self.released: list[tuple[str, int]] = []
        self.watching: Watch | None = None
        self.rules: list[str] = []  # that were broken here

    def ask(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """What the other side answers to a question; meanwhile its own questions are served."""
        tensors: list[Tensor] = []
        packed = pack([list(arguments), options], tensors, self.export)
        answer, found = self.exchange({"ask": name, "value": packed}, tensors)
        return unpack(answer["answer"], found, self.receive)

    def exchange(self, header: dict[str, Any], tensors: Sequence[Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
        """Send a question and wait for its answer; raises SubmissionError with what the other side raised."""
        self._send(header, tensors)
        while True:
            message, found = self._receive()
            if "ask" in message:
                self.serve(message, found)
            elif "error" in message:
                raise SubmissionError(
                    printable(str(message["error"])[:2000]), printable(str(message.get("trace", ""))[:4000])
                )
            elif "answer" in message:
                return message, found
            else:
                raise ValueError(f"a message that is neither question nor answer: {str(message)[:80]}")

    def forget(self, kind: str, number: int) -> None:
        """Nothing here refers to an object or a graph of the other side any more; it is told with the next message."""
        self.released.append((kind, number))

    def listen(self) -> None:
        """Serve questions until the other side closes."""
        while True:
            message, tensors = self._receive()
            self.serve(message, tensors)

    def _send(self, header: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        released, self.released = self.released, []
        told = {"rules": self.rules} if self.rules else {}
        self.pipe.send(header | {"released": released} | told, tensors)

    def _receive(self) -> tuple[dict[str, Any], list[Tensor]]:
        message, tensors = self.pipe.receive()
        for kind, number in message.get("released", ()):
            (self.objects if kind == "object" else self.kept).pop(int(number), None)
        return message, [tensor.to(self.device) for tensor in tensors]

    def serve(self, message: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
        """Answer a question; what is raised is the answer too."""
        try:
            if message["ask"] == "call":
                header, found = self._called(message, tensors)
            elif message["ask"] == "slope":
                header, found = self._sloped(message, tensors)
            else:
                found = []
                arguments, options = unpack(message["value"], tensors, self.receive)
                value = self._offered(str(message["ask"]))(*arguments, **options)
                header = {"answer": pack(value, found, self.export)}
        except (Exception, SystemExit) as error:
            header, found = _told(error), []
        self._send(header, found)

    def _offered(self, name: str) -> Callable[..., Any]:
        own: dict[str, Callable[..., Any]] = {"numbers": self._numbers, "pushed": self._pushed, "echo": _echo}
        found = self.serves.get(name) or own.get(name)
        if found is None:
            raise ValueError(f"nothing is known of '{name}'")
        return found

    def _method(self, number: int, name: str) -> Callable[..., Any]:
        found = self.objects[number]
        if name and name not in OFFERED:
            raise ValueError(f"'{name}' is not offered")
        return getattr(found, name) if name else found  # type: ignore[no-any-return]

    def _called(self, message: Mapping[str, Any], tensors: Sequence[Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
        """Call an object that was given away. grad: which tensors are differentiated; None: gradients are off."""
        function = self._method(int(message["object"]), str(message["method"]))
        grad = message["grad"]
        inputs = list(tensors)
        if grad is not None:
            inputs = [t.detach().requires_grad_() if wanted else t for t, wanted in zip(tensors, grad, strict=True)]
        arguments = unpack(message["value"], inputs, self.receive)
        watch = Watch() if message["mode"] == "watched" else None
        mode = _MODES.get(message["mode"])
        with torch.set_grad_enabled(grad is not None):
            if watch is not None:
                with watch:
                    value = function(*arguments)
            elif mode is not None:
                with mode():
                    value = function(*arguments)
            else:
                value = function(*arguments)
        outputs: list[Tensor] = []
        header: dict[str, Any] = {"answer": pack(value, outputs, self.export)}
        if watch is not None:
            header["differentiated"] = watch.differentiated
        follows = [bool(output.requires_grad) for output in outputs]
        if grad is not None and any(follows):
            leaves = [t for t, wanted in zip(inputs, grad, strict=True) if wanted]
            number = next(self.numbers)
            self.kept[number] = _Kept([o for o, follow in zip(outputs, follows, strict=True) if follow], leaves)
            header |= {"follows": follows, "ticket": number}
        return header, outputs

    def _sloped(self, message: Mapping[str, Any], tensors: Sequence[Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
        """Go back through what was kept: gradients by its inputs, of its outputs weighted."""
        kept = self.kept[int(message["ticket"])]
        given = dict(zip(message["places"], tensors, strict=True))
        chosen = [(output, given[place]) for place, output in enumerate(kept.outputs) if place in given]
        slopes = torch.autograd.grad(
            [output for output, _ in chosen],
            kept.leaves,
            [weights.to(output.dtype) for output, weights in chosen],
            retain_graph=True,
            allow_unused=True,
        )
        reached = [place for place, slope in enumerate(slopes) if slope is not None]
        return {"answer": None, "reached": reached}, [slopes[place] for place in reached]

    def _numbers(self, number: int, path: Sequence[Any], name: str, *arguments: Any, draw: int = 0) -> Tensor:
        """Random numbers that were given away: they are made here, so that their key stays here."""
        draws = self.objects[number]
        for step in path:
            draws = draws[step] if isinstance(step, Tensor) else draws.stream(step)
        if name not in ("uniform", "normal", "integers"):
            raise ValueError(f"'{name}' is no distribution")
        shape = arguments[1:] if name == "integers" else arguments
        rows = next((len(step) for step in reversed(path) if isinstance(step, Tensor)), 1)
        if math.prod(shape) * rows > _MOST:
            raise ValueError(f"random numbers of shape {tuple(shape)} for {rows} inputs; at most {_MOST} numbers")
        found: Tensor = getattr(draws, name)(*arguments, draw=draw)
        return found

    def _pushed(self, number: int, method: str, at: Tensor, along: Tensor) -> Tensor:
        """The derivative of a function of one tensor along a direction."""
        found: Tensor = torch.func.jvp(self._method(number, method), (at,), (along,))[1]
        return found

    def export(self, value: Any) -> dict[str, Any]:
        """Give a function or draws away: a number, and what it offers. Raises TypeError for anything else."""
        if isinstance(value, Remote | RemoteDraws) and value.endpoint is self:
            return {"back": value.number, "method": getattr(value, "method", "")}
        number = next(self.numbers)
        self.objects[number] = value
        if hasattr(value, "stream") and hasattr(value, "uniform"):
            return {"number": number, "kind": "draws"}
        if not callable(value):
            del self.objects[number]
            raise TypeError(
                f"a {type(value).__name__} was given; expected a tensor: torch.from_numpy(array), torch.tensor(values)"
            )
        return {"number": number, "kind": "function", "offers": [name for name in OFFERED if hasattr(value, name)]}

    def receive(self, packed: Mapping[str, Any]) -> Any:
        """What the other side gave away, or gave back."""
        if "back" in packed:
            return self._method(int(packed["back"]), str(packed.get("method", "")))
        number = int(packed["number"])
        if packed["kind"] == "draws":
            return RemoteDraws(self, Number(self, number))
        offers = tuple(name for name in packed["offers"] if name in OFFERED)
        return Remote(self, Number(self, number), offers=offers)


def _told(error: BaseException) -> dict[str, Any]:
    """The error, and the last lines of its own traceback."""
    own = [line for line in traceback.format_exception(error) if "harness/isolation" not in line]
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    return {"error": f"{type(error).__name__}: {error}{advice(error)}", "trace": "".join(own)[-4000:], "memory": memory}


def _echo(x: Tensor) -> Tensor:
    return x
