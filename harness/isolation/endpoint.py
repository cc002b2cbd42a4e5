"""Calls across the boundary, in both directions, with gradients: each side offers functions of tensors to the other."""

from __future__ import annotations

import itertools
import math
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.isolation.codec import pack, unpack
from harness.isolation.errors import SubmissionError
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
                raise SubmissionError(str(message["error"])[:2000], str(message.get("trace", ""))[:4000])
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
        except Exception as error:
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
            raise TypeError(f"a {type(value).__name__} cannot be sent; tensors, plain values and functions can")
        return {"number": number, "kind": "function", "offers": [name for name in OFFERED if hasattr(value, name)]}

    def receive(self, packed: Mapping[str, Any]) -> Any:
        """What the other side gave away, or gave back."""
        if "back" in packed:
            return self._method(int(packed["back"]), str(packed.get("method", "")))
        number = int(packed["number"])
        if packed["kind"] == "draws":
            return RemoteDraws(self, _Number(self, number))
        offers = tuple(name for name in packed["offers"] if name in OFFERED)
        return Remote(self, _Number(self, number), offers=offers)


def _told(error: BaseException) -> dict[str, Any]:
    """The error, and the last lines of its own traceback."""
    own = [line for line in traceback.format_exception(error) if "harness/isolation" not in line]
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    return {"error": f"{type(error).__name__}: {error}", "trace": "".join(own)[-4000:], "memory": memory}


def _echo(x: Tensor) -> Tensor:
    return x


class _Number:
    """The number of something on the other side, which may forget it when nothing here refers to it."""

    def __init__(self, endpoint: Endpoint, value: int) -> None:
        self.value = value
        weakref.finalize(self, endpoint.forget, "object", value).atexit = False
        self.endpoint = endpoint


class Remote:
    """A function on the other side, with what it offers; its gradients cross as well."""

    def __init__(
        self, endpoint: Endpoint, held: _Number, *, offers: Sequence[str] = (), method: str = "", mode: str = ""
    ) -> None:
        self.endpoint, self.held, self.offers, self.method, self.mode = endpoint, held, tuple(offers), method, mode

    @property
    def number(self) -> int:
        """Its number on the other side."""
        return self.held.value

    def __call__(self, *arguments: Any) -> Any:
        return called(self.endpoint, self.number, self.method, self.mode, arguments)

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("offers", ()):
            return Remote(self.endpoint, self.held, method=name, mode=self.mode)
        raise AttributeError(
            f"a submission's function offers {', '.join(self.offers) or 'nothing'} besides its call, not {name}"
        )

    def under(self, mode: str) -> Remote:
        """The same function run by other rules of differentiation: "smooth" or "unrolled"."""
        return Remote(self.endpoint, self.held, offers=self.offers, method=self.method, mode=mode)

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[None]:
        """Note whether anything is differentiated there while the block runs."""
        before, self.endpoint.watching = self.endpoint.watching, watch
        try:
            yield
        finally:
            self.endpoint.watching = before

    def processor(self) -> float:
        """Seconds of the processor that the other side has used; 0 where that is not known."""
        known = getattr(self.endpoint.pipe, "processor", None)
        return float(known()) if known else 0.0

    def echo(self, x: Tensor) -> Tensor:
        """Ask for as much as an answer to these inputs takes to cross, and nothing else."""
        found: Tensor = self.endpoint.ask("echo", x)
        return found

    def pushed(self, at: Tensor, along: Tensor) -> Tensor:
        """Its derivative along a direction."""
        found: Tensor = self.endpoint.ask("pushed", self.number, self.method, at, along)
        return found


class RemoteDraws:
    """Draws whose numbers are made on the other side; their key is not told."""

    def __init__(self, endpoint: Endpoint, held: _Number, path: tuple[Any, ...] = ()) -> None:
        self.endpoint, self.held, self.path = endpoint, held, path

    @property
    def number(self) -> int:
        """Their number on the other side."""
        return self.held.value

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        """Uniform numbers in [0, 1): (B, *shape)."""
        return self._asked("uniform", *shape, draw=draw)

    def normal(self, *shape: int, draw: int = 0) -> Tensor:
        """Standard normal numbers: (B, *shape)."""
        return self._asked("normal", *shape, draw=draw)

    def integers(self, high: int, *shape: int, draw: int = 0) -> Tensor:
        """Integers in 0 .. high - 1: (B, *shape)."""
        return self._asked("integers", high, *shape, draw=draw)

    def stream(self, name: str | int) -> RemoteDraws:
        """Independent numbers under a name."""
        return RemoteDraws(self.endpoint, self.held, (*self.path, name))

    def __getitem__(self, rows: Tensor) -> RemoteDraws:
        return RemoteDraws(self.endpoint, self.held, (*self.path, rows))

    def _asked(self, name: str, *arguments: int, draw: int) -> Tensor:
        found: Tensor = self.endpoint.ask("numbers", self.number, list(self.path), name, *arguments, draw=draw)
        return found


def called(endpoint: Endpoint, number: int, method: str, mode: str, arguments: Sequence[Any]) -> Any:
    """The value of a function on the other side, differentiable by every tensor among the arguments that asks for it."""
    tensors: list[Tensor] = []
    packed = pack(tuple(arguments), tensors, endpoint.export)
    enabled = torch.is_grad_enabled()
    grad = [bool(tensor.requires_grad) for tensor in tensors] if enabled else None
    mode = mode or ("watched" if endpoint.watching else "")
    header = {"ask": "call", "object": number, "method": method, "mode": mode, "value": packed, "grad": grad}
    if grad is None or not any(grad):
        answer, found = endpoint.exchange(header, tensors)
        _watched(endpoint, answer)
        return unpack(answer["answer"], found, endpoint.receive)
    box: list[dict[str, Any]] = []
    outputs = _Crossing.apply(endpoint, header, box, *tensors)
    return unpack(box[0]["answer"], outputs, endpoint.receive)


def _watched(endpoint: Endpoint, answer: Mapping[str, Any]) -> None:
    if endpoint.watching is not None:
        endpoint.watching.differentiated |= bool(answer.get("differentiated"))


class _Crossing(torch.autograd.Function):
    """A pass through a function on the other side; the way back is asked for there."""

    @staticmethod
    def forward(
        ctx: Any, endpoint: Endpoint, header: dict[str, Any], box: list[dict[str, Any]], *tensors: Tensor
    ) -> Any:
        answer, outputs = endpoint.exchange(header, tensors)
        box.append(answer)
        _watched(endpoint, answer)
        follows = answer.get("follows") or [False] * len(outputs)
        if len(follows) != len(outputs):
            raise ValueError(f"{len(follows)} statements about {len(outputs)} outputs")
        ctx.endpoint, ctx.follows, ctx.wanted = endpoint, follows, header["grad"]
        ctx.like = [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]
        ctx.ticket = _Ticket(endpoint, int(answer["ticket"])) if "ticket" in answer else None
        ctx.mark_non_differentiable(*(o for o, follow in zip(outputs, follows, strict=True) if not follow))
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        following = [g for g, follow in zip(gradients, ctx.follows, strict=True) if follow]
        places = [place for place, gradient in enumerate(following) if gradient is not None]
        nothing = (None, None, None)
        if ctx.ticket is None or not places:
            return *nothing, *(None for _ in ctx.like)
        header = {"ask": "slope", "ticket": ctx.ticket.value, "places": places}
        answer, found = ctx.endpoint.exchange(header, [following[place] for place in places])
        reached = dict(zip(answer["reached"], found, strict=True))
        slopes, leaf = [], 0
        for (shape, dtype, device), wanted in zip(ctx.like, ctx.wanted, strict=True):
            slope = reached.get(leaf) if wanted else None
            leaf += bool(wanted)
            if slope is not None and slope.shape != shape:
                raise ValueError(f"a gradient of shape {tuple(slope.shape)}; expected {tuple(shape)}")
            slopes.append(None if slope is None else slope.to(device, dtype))
        return *nothing, *slopes


class _Ticket:
    """A graph that is kept on the other side while the result here lives."""

    def __init__(self, endpoint: Endpoint, value: int) -> None:
        self.value = value
        weakref.finalize(self, endpoint.forget, "ticket", value).atexit = False
