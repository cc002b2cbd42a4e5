"""MLflow's server on a run folder: started, waited for, opened at the ranking, ended with Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from harness.progress import say
from harness.records import records_of
from harness.track import QUIET, answering, client, ranking_link, tracking_uri

PATIENCE = 180  # seconds; on two busy cores the server took 50
_LOG = "mlflow-server.log"


def serve(home: Path, port: int, show: Callable[[str], None]) -> int:
    """Start the server, hand the ranking's address to `show`, stay until the server ends or Ctrl-C.

    Where MLFLOW_TRACKING_URI names a server, that one is shown and none is started. Raises FileNotFoundError without records,
    RuntimeError if the port is in use or the server does not answer.
    """
    records = sorted(records_of(home), key=lambda record: str(record["created"]), reverse=True)
    if not records:
        raise FileNotFoundError(f"{home / 'records'} holds no records yet; `harness run quick` writes some")
    suites = list(dict.fromkeys(str(record["suite"]) for record in records))
    if tracking_uri(home).startswith("http"):
        with answering(home):
            link = _ranking(home, suites)
        show(f"{tracking_uri(home).rstrip('/')}/{link}")
        return 0
    if "MLFLOW_TRACKING_URI" not in os.environ and not (home / "mlflow.db").is_file():
        raise RuntimeError(_missing(home))
    _free(port)
    try:
        with _stoppable(), _server(home, port) as process:
            say("starting MLflow (up to a minute on a busy machine) ...")
            link = _ranking(home, suites)  # meanwhile
            _wait(f"http://127.0.0.1:{port}", process, home)
            show(f"http://127.0.0.1:{port}/{link}")
            say("Ctrl-C stops it")
            return process.wait()
    except KeyboardInterrupt:
        say("stopped")
        return 130


def _ranking(home: Path, suites: Sequence[str]) -> str:
    """The address, inside the server, of the ranking of the first suite that MLflow holds."""
    server = client(home)
    for suite in suites:
        found = server.get_experiment_by_name(suite)
        if found is not None and found.lifecycle_stage == "active":
            return ranking_link(str(found.experiment_id))
    raise RuntimeError(_missing(home))


def _missing(home: Path) -> str:
    return f"MLflow holds nothing of the records in {home} yet; `harness sync` writes them"


def _free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RuntimeError(f"port {port} cannot be used ({error.strerror}); give another with --port") from None


@contextmanager
def _stoppable() -> Iterator[None]:
    """A polite kill ends like Ctrl-C, so that no server is left behind."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _server(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server in a group of processes of its own, all of which end with the block."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri(home)]
    command += ["--default-artifact-root", (home / "artifacts").as_uri(), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    quiet = {**QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / _LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            continue


def _wait(base: str, process: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"MLflow's server ended at once: {_last_line(home / _LOG)} (more in {home / _LOG})")
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"MLflow's server did not answer on {base} within {PATIENCE} s; see {home / _LOG}")


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
