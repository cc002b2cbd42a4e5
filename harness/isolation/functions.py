"""Functions and draws of the other side, as if they were here; gradients cross as well."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.isolation.codec import pack, unpack
from harness.rewritten import Watch

if TYPE_CHECKING:
    from harness.isolation.endpoint import Endpoint


class Number:
    """The number of something on the other side, which may forget it when nothing here refers to it."""

    def __init__(self, endpoint: Endpoint, value: int) -> None:
        self.value = value
        weakref.finalize(self, endpoint.forget, "object", value).atexit = False
        self.endpoint = endpoint


class Remote:
    """A function on the other side, with what it offers; its gradients cross as well."""

    def __init__(
        self, endpoint: Endpoint, held: Number, *, offers: Sequence[str] = (), method: str = "", mode: str = ""
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

    def __init__(self, endpoint: Endpoint, held: Number, path: tuple[Any, ...] = ()) -> None:
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
