"""Messages between two processes: a header over a socket, tensors in memory that both map."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.isolation.codec import DTYPES

_ALIGNED = 64
_START = 1 << 22
HEADER = 1 << 20  # bytes of a header, at most
_MOST = 1024  # tensors of a message
_DIMENSIONS, _LONGEST = 16, 1 << 40  # of a tensor
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Closed(RuntimeError):
    """The other side is gone."""


class Arena:
    """Shared memory that one side writes and the other reads; it grows and never shrinks."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.size = 0
        self.map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> Arena:
        """New memory, sealed against shrinking where the system can: a reader must not fall off its end."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("harness", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(file, _START)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            return cls(file)
        with tempfile.TemporaryFile() as temporary:
            os.ftruncate(temporary.fileno(), _START)
            return cls(os.dup(temporary.fileno()))

    def reach(self, size: int, *, grow: bool) -> memoryview:
        """The memory up to a size; raises ValueError if the other side names more than there is."""
        if self.map is None or size > self.size:
            there = os.fstat(self.file).st_size
            if size > there:
                if not grow:
                    raise ValueError(f"a message names {size} bytes of shared memory, of {there}")
                there = max(size, 2 * there)
                os.ftruncate(self.file, there)
            self.map, self.size = mmap.mmap(self.file, there), there
        return memoryview(self.map)

    def close(self) -> None:
        """Let go of the file; the mapping goes when nothing refers to it."""
        with contextlib.suppress(OSError):
            os.close(self.file)
        self.map = None


class Channel:
    """One end: sends into one arena, receives from the other, a message at a time, in turn."""

    def __init__(self, link: socket.socket, outgoing: Arena, incoming: Arena) -> None:
        self.link, self.outgoing, self.incoming = link, outgoing, incoming
        self.wait: Callable[[], None] = lambda: None  # called before anything is received

    def send(self, header: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        """Send a message; raises Closed if nobody listens."""
        described: list[tuple[str, list[int], int]] = []
        end = 0
        for tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            described.append((_NAMES.get(tensor.dtype, str(tensor.dtype)), list(tensor.shape), end))
            end += -(-size // _ALIGNED) * _ALIGNED
        memory = self.outgoing.reach(end, grow=True) if end else None
        for tensor, (name, shape, start) in zip(tensors, described, strict=True):
            if name not in DTYPES:
                raise TypeError(f"a tensor of {tensor.dtype} cannot be sent; known: {', '.join(DTYPES)}")
            if tensor.numel():
                assert memory is not None
                _view(memory, name, shape, start).copy_(tensor.detach())
        content = json.dumps(header | {"tensors": described}).encode()
        if len(content) > HEADER or len(tensors) > _MOST:
            raise ValueError(
                f"a message of {len(content)} bytes and {len(tensors)} tensors; at most {HEADER} and {_MOST}"
            )
        try:
            self.link.sendall(struct.pack("<Q", len(content)) + content)
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(self) -> tuple[dict[str, Any], list[Tensor]]:
        """The next message, its tensors copied; raises Closed at its end, ValueError if it is none."""
        (length,) = struct.unpack("<Q", self._exactly(8))
        if length > HEADER:
            raise ValueError(f"a message of {length} bytes; at most {HEADER}")
        header = json.loads(self._exactly(length))
        if not isinstance(header, dict) or not isinstance(header.get("tensors"), list):
            raise ValueError("a message without tensors")
        described = header.pop("tensors")
        if len(described) > _MOST:
            raise ValueError(f"a message with {len(described)} tensors; at most {_MOST}")
        tensors, end = [], 0
        for name, shape, start in described:
            if not isinstance(start, int) or start < end:
                raise ValueError("a message whose tensors lie over one another")
            tensor = self._tensor(name, shape, start)
            tensors.append(tensor)
            end = start + tensor.numel() * tensor.element_size()
        return header, tensors

    def _tensor(self, name: str, shape: list[int], start: int) -> Tensor:
        if name not in DTYPES or len(shape) > _DIMENSIONS or not all(_sound(n) for n in [start, *shape]):
            raise ValueError(f"a message with a tensor of {str(name)[:20]}, {str(shape)[:80]}")
        count = 1
        for n in shape:
            count *= n
        if not count:
            return torch.empty(shape, dtype=DTYPES[name])
        size = count * torch.empty((), dtype=DTYPES[name]).element_size()
        memory = self.incoming.reach(start + size, grow=False)
        if name == "bool":  # any other byte than 0 and 1 makes torch count one way and index another
            return _view(memory, "uint8", shape, start).clone() != 0
        return _view(memory, name, shape, start).clone()

    def _exactly(self, number: int) -> bytes:
        parts = []
        while number:
            self.wait()
            try:
                part = self.link.recv(min(number, 1 << 20))
            except OSError as error:
                raise Closed(str(error)) from None
            if not part:
                raise Closed("the other side is gone")
            parts.append(part)
            number -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close this end."""
        self.link.close()
        self.outgoing.close()
        self.incoming.close()


def _sound(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _LONGEST


def _view(memory: memoryview, name: str, shape: list[int], start: int) -> Tensor:
    count = 1
    for n in shape:
        count *= n
    return torch.frombuffer(memory, dtype=DTYPES[name], count=count, offset=start).view(shape)
