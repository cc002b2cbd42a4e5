"""Where the files of a store stand: a folder, or an address that fsspec knows, such as a bucket of an S3-compatible server.

A place keeps whole files under names like `ab/abcd.json`. What stands under a name is never half of something: a folder
writes to a temporary name and renames, an object store puts an object at once.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harness import registry

T = TypeVar("T")
AT_ONCE = {
    "s3",
    "s3a",
    "gs",
    "gcs",
    "az",
    "abfs",
    "abfss",
    "adl",
    "oss",
    "memory",
}  # protocols that put an object whole
MANY = 1_000  # files read together
AT_A_TIME = 32  # questions asked side by side
CREDENTIALS: dict[str, str] = dict.fromkeys(("s3", "s3a"), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
OPTIONS = {name: {"max_concurrency": 1} for name in ("s3", "s3a")}  # one request a file, not two
SECRETS = ("~/.aws", "~/.config/gcloud", "~/.azure", "~/.config/fsspec")  # where such clients keep credentials


class Away(OSError):
    """A place that does not answer or refuses; what was written there stands."""


class Place(Protocol):
    """Whole files under names. `read` raises FileNotFoundError; all raise Away where the place does not answer."""

    address: str
    private: tuple[str, ...]  # folders of this machine that only its users should read
    shared: bool  # whether other processes see it

    def read(self, name: str) -> bytes:
        """The content of a file."""
        ...

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """The contents of those files that are there."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file; others see the old one or the new one."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one; False if there is.

        Of several who ask at once only one is told True, but for servers that know no conditional writes.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a file if there is one."""
        ...

    def times(self, folder: str) -> dict[str, float]:
        """When each file of a folder was written, in seconds of the place's own clock."""
        ...

    def each(self, ask: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """The answers about several files, asked side by side where an answer takes long."""
        ...


class Folder:
    """A folder of a file system that all who use it see alike."""

    shared = True

    def __init__(self, root: Path) -> None:
        self.root = self.address = str(root)
        self.private: tuple[str, ...] = (self.root,)

    def path(self, name: str) -> str:
        """The path of a file."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        with open(self.path(name), "rb", buffering=0) as file:
            return file.readall()

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = self.read(name)
        return found

    def write(self, name: str, content: bytes) -> None:
        write_whole(Path(self.path(name)), content)

    def create(self, name: str, content: bytes) -> bool:
        path = self.path(name)
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return self.create(name, content)
        try:
            with os.fdopen(file, "wb") as opened:
                opened.write(content)
        except OSError:  # a full disk; an empty file would stand for something
            self.delete(name)
            raise
        return True

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path(name))

    def times(self, folder: str) -> dict[str, float]:
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found[entry.name] = entry.stat().st_mtime
        return found

    def each(self, ask: Callable[[str], T], names: Iterable[str]) -> list[T]:
        return [ask(name) for name in names]


class Remote:
    """Files under an address, through fsspec; `system` is its file system, `root` the path there."""

    def __init__(self, address: str, system: Any, root: str) -> None:
        self.address, self.system, self.root = address, system, root.rstrip("/")
        self.protocol = address.partition("://")[0]
        self.shared = self.protocol != "memory"
        self.private = tuple(os.path.expanduser(path) for path in SECRETS)

    def read(self, name: str) -> bytes:
        return bytes(self._asked(self.system.cat_file, self._path(name)))

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        paths = {self._path(name): name for name in names}
        found: dict[str, bytes] = {}
        for start in range(0, len(paths), MANY):
            some = list(paths)[start : start + MANY]
            for path, content in self._asked(lambda some=some: self.system.cat(some, on_error="return")).items():
                if isinstance(content, bytes):
                    found[paths[path]] = content
                elif not _absent(content):
                    raise self._away(content) from content
        return found

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        try:
            self._asked(self._put, path, content)
        except FileNotFoundError:
            if self.protocol in AT_ONCE:
                raise self._nowhere() from None
            self._asked(lambda: self.system.makedirs(path.rpartition("/")[0], exist_ok=True))
            self._asked(self._put, path, content)

    def create(self, name: str, content: bytes) -> bool:
        path = self._path(name)
        try:
            self._asked(lambda: self.system.pipe_file(path, content, mode="create"))
        except FileExistsError:
            return False
        except (FileNotFoundError, NotImplementedError, TypeError):  # no folder yet, or no conditional writes
            if self._asked(self.system.exists, path):
                return False
            self.write(name, content)
        return True

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._asked(self.system.rm_file, self._path(name))

    def times(self, folder: str) -> dict[str, float]:
        try:
            found = self._asked(lambda: self.system.find(self._path(folder), detail=True))
        except FileNotFoundError:
            return {}
        return {path.rpartition("/")[2]: _time(info) for path, info in found.items()}

    def each(self, ask: Callable[[str], T], names: Iterable[str]) -> list[T]:
        several = list(names)
        if len(several) < 2:
            return [ask(name) for name in several]
        with ThreadPoolExecutor(min(AT_A_TIME, len(several))) as asking:
            return list(asking.map(ask, several))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _put(self, path: str, content: bytes) -> None:
        if self.protocol in AT_ONCE:
            self.system.pipe_file(path, content)
            return
        temporary = f"{path.rpartition('/')[0]}/.{uuid.uuid4().hex}"
        try:
            self.system.pipe_file(temporary, content)
            self.system.mv(temporary, path)
        except BaseException:
            with suppress(Exception):
                self.system.rm_file(temporary)
            raise

    def _asked(self, ask: Callable[..., T], *arguments: Any) -> T:
        """What the file system answers. Raises FileNotFoundError, FileExistsError and what says that it cannot; else Away."""
        try:
            return ask(*arguments)
        except (FileExistsError, NotImplementedError, TypeError):
            raise
        except Exception as error:
            if _absent(error):
                raise
            raise self._away(error) from error

    def _away(self, error: BaseException) -> Away:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, FileNotFoundError):
            return self._nowhere()
        if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
            how = CREDENTIALS.get(self.protocol, "see the documentation of its fsspec client")
            return Away(f"the store {self.address} refuses ({said}); give credentials that may write there: {how}")
        return Away(
            f"the store {self.address} does not answer ({said}); what was done stands there: run the same command again "
            "to continue"
        )

    def _nowhere(self) -> Away:
        return Away(f"there is no bucket for the store {self.address}; make it, or name another")


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name beside the file, then rename; a full disk leaves nothing half-written under the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@lru_cache(maxsize=64)
def at(address: str) -> Place:
    """The place at an address: a path, or a URL. Raises ValueError, or ImportError where its client is not installed."""
    protocol, mark, rest = address.partition("://")
    if not mark or protocol in ("file", "local"):
        path = rest if mark else address
        if mark and not path.startswith("/"):
            raise ValueError(f"the store '{address}' is no address; after {protocol}:// a path begins with /")
        return Folder(Path(path).expanduser().absolute())
    import fsspec

    if protocol not in fsspec.available_protocols():
        raise ValueError(registry.unknown(protocol, sorted(fsspec.available_protocols()), "protocol of a store"))
    if not rest.strip("/"):
        raise ValueError(f"the store '{address}' names no place; give one, such as {protocol}://bucket/run")
    try:
        system, root = fsspec.url_to_fs(address, use_listings_cache=False, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        extra = "; pip install 'adversarial-robustness-harness[s3]'" if protocol in CREDENTIALS else ""
        raise ImportError(f"the store {address} needs a client that is not installed: {error}{extra}") from None
    return Remote(address.rstrip("/"), system, str(root))


def _absent(error: BaseException) -> bool:
    """Whether there is no such file; a bucket that is not there is another matter."""
    return isinstance(error, FileNotFoundError) and "bucket does not exist" not in str(error)


def _time(info: Mapping[str, Any]) -> float:
    """When a file was written, as the clients of different servers call it."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
