"""Where the named data sets are looked for: HARNESS_DATA, then the run folder's cache, then torchvision's download."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from harness import progress

Search = Callable[[Path], tuple[Path, ...]]
Stamp = tuple[Path, int, int]

FIRST_BYTE_SECONDS = 30.0
"""How long a download may stay without a single byte before the network counts as out of reach."""

AGAIN_SECONDS = 600.0
"""How long a failed download is not tried again, by any process."""


def cache_folder() -> Path:
    """Where downloaded data are kept: `$HARNESS_HOME/data`, or `runs/data` in the working folder."""
    return Path(os.environ.get("HARNESS_HOME") or "runs") / "data"


def find(name: str, search: Search, *, expected: str) -> tuple[Path, ...]:
    """The files of a data set, from the first place that holds any; downloaded when none does.

    search(place) gives the files found there; `name` is torchvision's class for the download, with its checksums.
    Raises FileNotFoundError naming the three places and the files expected.
    """
    given, cache = os.environ.get("HARNESS_DATA"), cache_folder()
    for place in [Path(given).expanduser()] if given else []:
        if found := search(place):
            return found
    if found := search(cache):
        return found
    reason = download(name, cache)
    if found := search(cache):
        return found
    raise FileNotFoundError(
        f"{name} was not found; expected {expected}, in one of\n"
        f"  1. HARNESS_DATA: {_described(given)}\n"
        f"  2. the run folder's cache: {cache.absolute()}\n"
        f"  3. torchvision's download: {reason}\n"
        "Set HARNESS_DATA to a folder that holds these files, or run once with network access."
    )


def _described(given: str | None) -> str:
    if not given:
        return "not set"
    return given if Path(given).expanduser().is_dir() else f"{given} (no such folder)"


@lru_cache(maxsize=16)
def download(name: str, cache: Path) -> str:
    """Download a data set into the cache, tried once in ten minutes; the reason if that failed, else "".

    A process of its own does it, which is stopped when no byte arrives; the data appear by rename, when they are whole.
    """
    failure = cache / f".{name}-failed"
    if failure.is_file() and time.time() - failure.stat().st_mtime < AGAIN_SECONDS:
        return (
            f"{failure.read_text(encoding='utf-8')}; tried less than ten minutes ago, remove {failure} to try at once"
        )
    reason = _download(name, cache)
    if reason and cache.is_dir():
        failure.write_text(reason, encoding="utf-8")
    return reason


def _download(name: str, cache: Path) -> str:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as folder:
            progress.say(f"downloading {name} into {cache}")
            if reason := _download_into(name, Path(folder)):
                return reason
            for entry in Path(folder).iterdir():
                if not (cache / entry.name).exists():
                    entry.replace(cache / entry.name)
    except OSError as error:
        return f"failed ({error})"
    return ""


def _download_into(name: str, folder: Path) -> str:
    command = [sys.executable, "-m", "harness.datasets._download", name, str(folder)]
    with (folder / "log").open("w+") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            answered = _wait(child, folder)
        finally:
            child.kill()
            child.wait()
        log.seek(0)
        last = (log.read().strip().splitlines() or [f"exit status {child.returncode}"])[-1]
    (folder / "log").unlink()
    if not answered:
        return f"no answer within {FIRST_BYTE_SECONDS:g} s"
    return f"failed ({last})" if child.returncode else ""


def _wait(child: subprocess.Popen[bytes], folder: Path) -> bool:
    """Wait for a download; False if no byte of the data arrived in time."""
    deadline = time.monotonic() + FIRST_BYTE_SECONDS
    while child.poll() is None:
        if time.monotonic() > deadline:
            if not any(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "log"):
                return False
            child.wait()
        time.sleep(0.05)
    return True


def stamps(files: tuple[Path, ...]) -> tuple[Stamp, ...]:
    """Files with time of change and size, so that what is cached in the process is never taken for a changed file."""
    return tuple((path, status.st_mtime_ns, status.st_size) for path in files for status in [path.stat()])
