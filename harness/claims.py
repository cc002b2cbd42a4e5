"""Which tasks are being computed, told to other coordinators on the same store: a file each, kept fresh while its owner lives.

A claim saves work and protects nothing: results are renamed into place, so that a task computed twice does no harm.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

LEASE = 60.0  # seconds after which a claim that nobody kept fresh is void
BEAT = 10.0  # seconds between two signs of life


class Claims:
    """The claims of one coordinator in a store's folder; a context, within which they are kept fresh."""

    def __init__(self, folder: Path, *, lease: float = LEASE, beat: float = BEAT) -> None:
        self.folder, self.lease, self.beat = folder / "claims", lease, beat
        self.held: set[str] = set()
        self.seen: dict[str, tuple[float, float]] = {}  # others' claims: time of the file, and when it was first seen
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Claims:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        for key in list(self.held):
            self.drop(key)
        self._clock().unlink(missing_ok=True)

    def take(self, key: str) -> bool:
        """Claim a task; False if somebody who is alive has it."""
        path = self.folder / key
        if not self._create(path):
            if self._alive(path):
                return False
            gone = path.with_name(f".{key}.{uuid.uuid4().hex[:8]}")
            try:
                path.rename(gone)
            except FileNotFoundError:
                return False  # another took it over, or its owner is done
            gone.unlink(missing_ok=True)
            if not self._create(path):
                return False
        self.held.add(key)
        return True

    def drop(self, key: str) -> None:
        """Let go of a task."""
        if key in self.held:
            self.held.discard(key)
            (self.folder / key).unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            with os.fdopen(file, "w") as opened:
                opened.write(_owner(os.getpid()))
        except OSError:  # a full disk; a claim that nobody holds would keep others waiting
            path.unlink(missing_ok=True)
            raise
        return True

    def _alive(self, path: Path) -> bool:
        """Whether a claim's owner gave a sign of life, and was not seen to end.

        By the clock of the file system, and by this process's own steady one: a file dated in the future grows old too.
        """
        try:
            owner, touched = path.read_text().split(), path.stat().st_mtime
        except FileNotFoundError:
            return False
        silent = self._silent(path.name, touched)
        if len(owner) == 3 and owner[0] == _host() and owner[1].isdigit():
            return _began(int(owner[1])) == owner[2] and silent < 10 * self.lease  # it lives, even if the clock jumps
        return silent < self.lease and self._now() - touched < self.lease

    def _silent(self, name: str, touched: float) -> float:
        """Seconds that a claim has been watched without a change."""
        known, since = self.seen.get(name, (None, 0.0))
        if known != touched:
            since = time.monotonic()
            self.seen[name] = touched, since
        return time.monotonic() - since

    def _clock(self) -> Path:
        return self.folder / f".clock.{_host()}.{os.getpid()}"

    def _now(self) -> float:
        """The time on the clock of the file system, which all coordinators share."""
        clock = self._clock()
        clock.touch()
        os.utime(clock)
        return clock.stat().st_mtime

    def _keep(self) -> None:
        while not self.over.wait(self.beat):
            for key in list(self.held):
                with contextlib.suppress(OSError):
                    os.utime(self.folder / key)


def _host() -> str:
    return socket.gethostname().replace(" ", "-") or "unknown"


def _owner(process: int) -> str:
    return f"{_host()} {process} {_began(process)}"


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
