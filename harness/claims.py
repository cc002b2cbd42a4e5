"""Which tasks are being computed, told to other coordinators on the same store: a file each, void when its owner is gone.

A claim saves work and protects nothing: a result is there whole or not at all, so that a task computed twice does no harm. Each
coordinator keeps one more file fresh, its sign of life, so that the number of its claims does not matter.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from harness.places import Place

LEASE = 60.0  # seconds without a sign of life after which claims are void
BEAT = 10.0  # seconds between two signs of life
FOLDER = "claims"
_alive_here: set[str] = set()  # the coordinators of this process


class Claims:
    """The claims of one coordinator at a store's place; a context, within which it gives signs of life."""

    def __init__(self, place: Place, *, lease: float = LEASE, beat: float = BEAT) -> None:
        self.place, self.lease, self.beat = place, lease, beat
        self.owner = f"{_host()} {os.getpid()} {_began(os.getpid())} {uuid.uuid4().hex[:8]}"
        self.held: set[str] = set()
        self.owners: dict[tuple[str, float], str] = {}  # by claim and its time
        self.seen: dict[str, tuple[float, float]] = {}  # the time of a file, and when it was first seen with it
        self.beaten = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Claims:
        self._live()
        _alive_here.add(self.owner)
        times = self.place.times(FOLDER)
        for name in [name for name in times if name.startswith(".")]:
            if not self._alive(name[1:].rsplit(".", 3), (name,), times):
                self.place.delete(f"{FOLDER}/{name}")  # of one that was killed
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        _alive_here.discard(self.owner)
        with contextlib.suppress(OSError):  # a place that is away; the claims are void when the lease is over
            self.drop(*self.held)
            self.thread.join()
            self.place.delete(f"{FOLDER}/{_sign(self.owner)}")

    def take(self, *keys: str) -> list[str]:
        """Claim tasks; gives those that nobody had."""
        return [key for key, mine in zip(keys, self.place.each(self._take, keys), strict=True) if mine]

    def drop(self, *keys: str) -> None:
        """Let go of tasks."""
        mine = [key for key in keys if key in self.held]
        self.held.difference_update(mine)
        self.place.each(lambda key: self.place.delete(f"{FOLDER}/{key}"), mine)

    def free(self, keys: Iterable[str]) -> list[str]:
        """Those of others' tasks that may be claimed, by one look: nobody has them, or nobody who is alive."""
        times = self.place.times(FOLDER)
        taken = {key: times[key] for key in keys if key in times}
        self._read({key: time for key, time in taken.items() if (key, time) not in self.owners})
        found = []
        for key in keys:
            if key in taken:
                owner = self.owners[key, taken[key]].split()
                if self._alive(owner, (key, _sign(" ".join(owner))), times):
                    continue
                self.place.delete(f"{FOLDER}/{key}")
            found.append(key)
        return found

    def _take(self, key: str) -> bool:
        if not self.place.create(f"{FOLDER}/{key}", self.owner.encode()):
            return False
        self.held.add(key)
        return True

    def _read(self, claims: dict[str, float]) -> None:
        contents = self.place.read_many(f"{FOLDER}/{key}" for key in claims)
        for key, touched in claims.items():
            self.owners[key, touched] = contents.get(f"{FOLDER}/{key}", b"").decode(errors="replace")

    def _alive(self, owner: list[str], signs: tuple[str, ...], times: dict[str, float]) -> bool:
        """Whether an owner (host, process, its beginning, a mark) gave one of its signs of life, and was not seen to end.

        By the clock of the place, and by this process's own steady one: a file dated in the future grows old too.
        """
        touched = {name: times[name] for name in signs if name in times}
        silent = min((self._silent(name, touched[name]) for name in touched), default=float("inf"))
        if len(owner) == 4 and owner[0] == _host() and owner[1].isdigit():
            if int(owner[1]) == os.getpid():
                return " ".join(owner) in _alive_here
            return _began(int(owner[1])) == owner[2] and silent < 10 * self.lease  # it lives, even if the clock jumps
        return silent < self.lease and self._now(times) - max(touched.values()) < self.lease

    def _silent(self, name: str, touched: float) -> float:
        """Seconds that a file has been watched without a change."""
        known, since = self.seen.get(name, (None, 0.0))
        if known != touched:
            since = time.monotonic()
            self.seen[name] = touched, since
        return time.monotonic() - since

    def _now(self, times: dict[str, float]) -> float:
        """The time on the clock of the place, which all coordinators share."""
        return times.get(_sign(self.owner), 0.0) + time.monotonic() - self.beaten

    def _live(self) -> None:
        self.place.write(f"{FOLDER}/{_sign(self.owner)}", b"")
        self.beaten = time.monotonic()

    def _keep(self) -> None:
        while not self.over.wait(self.beat):
            with contextlib.suppress(OSError):
                self._live()


def _host() -> str:
    return socket.gethostname().replace(" ", "-") or "unknown"


def _sign(owner: str) -> str:
    """The name of a coordinator's sign of life."""
    return "." + owner.replace(" ", ".")


def _began(process: int) -> str:
    """When a process began, as its system counts; "gone" if there is none, "unknown" where that cannot be told."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return "gone"
    except OSError:
        return "unknown"
    return "unknown"
