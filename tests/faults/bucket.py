"""Injects faults into small runs whose store is a bucket and prints what each lost: `python tests/faults/bucket.py`.

Needs `pip install 's3fs' 'moto[s3]'`: an S3-compatible server (moto's, in memory) is started, and reached through a relay in
this process, which can be cut. A grid on digits runs once undisturbed in a folder; each fault has a bucket and a run folder of
its own. Compared are the hashes of all results by key, and whether each object has the hash that its record names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from kill import finished, results
from table import Case, Watcher, asked, ended, told

from harness.store import Store, file_name

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Relay:
    """Passes connections on to a server; while it is cut it takes none, and ends those that it has."""

    def __init__(self, port: int) -> None:
        self.target, self.cut = port, threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listening.getsockname()[1])
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            here, _ = self.listening.accept()
            if self.cut.is_set():
                here.close()
                continue
            there = socket.create_connection(("127.0.0.1", self.target))
            self.open += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.close()

    def end(self) -> None:
        """Cut it."""
        self.cut.set()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.open.clear()


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Relay]:
    """The server, once it answers, behind a relay."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with (folder / "moto.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=2):
                break
            time.sleep(0.2)
        yield Relay(port)
    finally:
        process.kill()
        process.wait()


@dataclass
class Bucket:
    """A run folder and a bucket to be disturbed."""

    home: Path
    url: str
    keys: list[str]
    relay: Relay

    @property
    def store(self) -> Store:
        return Store(self.home / "store", self.url)

    def command(self, executor: str = "serial") -> list[str]:
        return [*Case(self.home, {}, Watcher(self.home)).command(executor), "--store", self.url]

    def started(self, executor: str = "serial") -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(executor),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def reached(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many results stand."""
        while process.poll() is None and len(self.store.records(self.keys)) < count:
            time.sleep(0.05)


def coordinator(case: Bucket) -> str:
    """Kill the run three times in the middle."""
    stood = []
    for count in (4, 9, 14):
        process = case.started()
        case.reached(count, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        stood.append(len(case.store.records(case.keys)))
    return f"{stood} stood; run again: {finished(case.command())[0]['reused']} reused"


def worker(case: Bucket) -> str:
    """Kill all workers once while they have tasks."""
    from table import below

    process = case.started("processes")
    case.reached(3, process)
    workers = [number for number, line in below(process.pid) if "spawn_main" in line]
    for number in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return f"{len(workers)} killed; the run went on: {ended(process)['tasks']['computed']} computed"


def two(case: Bucket) -> str:
    """The same grid twice at once."""
    both = [case.started() for _ in range(2)]
    computed = [ended(process)["tasks"]["computed"] for process in both]
    return f"computed {' + '.join(map(str, computed))} of {len(case.keys)}"


def corrupted(case: Bucket) -> str:
    """Flip a bit in every object and cut every third record, of a run that was complete; the harness's records are lost too."""
    finished(case.command())
    place, records = case.store.place, case.store.records(case.keys)
    for number, (key, record) in enumerate(records.items()):
        name = file_name(key, record["form"])
        content = bytearray(place.read(name))
        content[len(content) // 2] ^= 1
        place.write(name, bytes(content))
        if number % 3 == 0:
            place.write(file_name(key), place.read(file_name(key))[:20])
    shutil.rmtree(case.home / "records")
    progress, _ = finished(case.command())
    return f"{len(records)} objects; {progress['computed']} computed, others mended when read"


def away(case: Bucket) -> str:
    """Cut the server off in the middle; then run the same command again."""
    process = case.started()
    case.reached(6, process)
    case.relay.end()
    begin = time.perf_counter()
    _, said = process.communicate(timeout=300)
    seconds = time.perf_counter() - begin
    case.relay.cut.clear()
    stood, again = len(case.store.records(case.keys)), finished(case.command())[0]
    reason = said.strip().splitlines()[-1] if process.returncode else "NO ERROR"
    return (
        f"ended with {process.returncode} after {seconds:.0f} s ('{reason}'); {stood} stood, {again['reused']} reused"
    )


FAULTS: dict[str, Callable[[Bucket], str]] = {
    "SIGKILL of the coordinator": coordinator,
    "SIGKILL of all workers": worker,
    "two coordinators on one bucket": two,
    "every object corrupted": corrupted,
    "server away": away,
}


def injected(fault: Callable[[Bucket], str], case: Bucket, expected: dict[str, str]) -> tuple[str, str]:
    """What was seen, and what was lost."""
    try:
        seen = fault(case)
    except (RuntimeError, SystemExit, OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}", "THE RUN"
    records = case.store.records(case.keys)
    found = {key: record["sha256"] for key, record in records.items()}
    counts = {
        "missing or different": sum(expected[key] != found.get(key) for key in expected),
        "half-written": sum(not case.store.intact(key, record) for key, record in records.items()),
        "failed": len(case.store.place.times("failed")),
    }
    return seen, ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"


def main() -> int:
    """Status 0 if nothing was lost."""
    only = asked(__doc__)
    with tempfile.TemporaryDirectory(prefix="harness-bucket-") as name, server(Path(name)) as relay:
        os.environ |= KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}"}
        import fsspec

        alone = Case(Path(name) / "alone", {}, Watcher(Path(name)))
        finished(alone.command())
        expected = {key.split()[1]: digest for key, digest in results(alone.store)[0].items()}

        def inject(number: int, title: str) -> tuple[str, str]:
            fsspec.filesystem("s3", use_listings_cache=False).mkdir(f"fault{number}")
            case = Bucket(Path(name) / str(number), f"s3://fault{number}/run", list(expected), relay)
            case.home.mkdir()
            return injected(FAULTS[title], case, expected)

        return told(FAULTS, only, len(expected), inject)


if __name__ == "__main__":
    sys.exit(main())
