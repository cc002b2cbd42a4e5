"""Injects one fault after another into small runs and prints what each lost.

    python tests/faults/table.py [--only NAME]

A grid on digits runs once undisturbed. Each fault then has a run folder of its own, in which the same grid is disturbed, and
run again if the disturbance ended it. Compared with the undisturbed run: the hashes of all results by key, the records, tasks
that failed, results half-written, and results computed although they stood. As root, the full disk is a small tmpfs; else it is
a limit on the size of files. The clock jumps in one process (`time.time`; `faketime` breaks Python's own `time.sleep`), and
in the dates of the claims.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kill import Watcher, finished, results

from harness.store import Store

GRID = [
    *("quick", "--set", "datasets=[digits]", "--set", "victims=[{mlp: {epochs: 5, width: 64}}]", "--set", "shifts=[]"),
    *("--set", "defenses=[none, bit_depth, feature_squeezing]", "--set", "attacks=[fgsm, {pgd: {steps: 5}}]"),
    *("--set", "inputs=32", "--set", "fallback={}", "--json"),
    *("--set", "threats=[{norm: linf, epsilons: [0.15], knowledge: [adaptive]}]"),
    *("--set", "headline={norm: linf, epsilon: 0.15, knowledge: adaptive}"),
]
SHORT_LEASE = "from harness.claims import Claims; Claims.__init__.__kwdefaults__.update(lease=6.0, beat=1.0); "
JUMPED = "import time; now = time.time; time.time = lambda: now() + 7200 * (-1) ** int(now()); "  # every second
PROGRAM = "from harness.cli import main; import sys; sys.exit(main())"


@dataclass
class Case:
    """A run folder to be disturbed, and what the undisturbed run came to."""

    home: Path
    expected: dict[str, str]
    watcher: Watcher

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    def command(self, executor: str = "serial", *, track: bool = False, before: str = "") -> list[str]:
        start = [sys.executable, "-c", before + PROGRAM, "run", *GRID]
        return [*start, "--home", str(self.home), "--executor", executor, *([] if track else ["--no-track"])]

    def started(self, *line: str, **options: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(line, start_new_session=True, **(pipes | options))

    def reached(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many results stand."""
        while len(self.watcher.seen) < count and process.poll() is None:
            time.sleep(0.01)


def ended(process: subprocess.Popen[str], seconds: float = 200) -> dict[str, Any]:
    """The summary that a run printed; raises RuntimeError with what it said if it printed none."""
    out, said = process.communicate(timeout=seconds)
    if not out.strip():
        raise RuntimeError(f"ended with {process.returncode}: {said.strip()[-300:]}")
    return {**json.loads(out), "said": said}


def below(process: int) -> list[tuple[int, str]]:
    """The processes that descend from one, with their command lines."""
    above: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            above.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [process]
    while todo:
        for child in above.get(todo.pop(), []):
            todo.append(child)
            with contextlib.suppress(OSError):
                found.append((child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()))
    return found


def worker_killed(case: Case, executor: str, name: str) -> str:
    """Kill one worker while it has a task."""
    process = case.started(*case.command(executor))
    case.reached(3, process)
    workers = [number for number, line in below(process.pid) if name in line]
    for number in workers[:1]:
        os.kill(number, signal.SIGKILL)
    summary = ended(process)
    again = "; a task was performed again" if "performed again" in summary["said"] else ""
    return (
        f"{len(workers[:1])} of {len(workers)} killed{again}; the run went on: {summary['tasks']['computed']} computed"
    )


def coordinator(case: Case) -> str:
    """Kill the run itself, its process group with it."""
    process = case.started(*case.command())
    case.reached(8, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stood = len(results(case.store)[0])
    return f"{stood} stood; run again: {finished(case.command())[0]['reused']} reused"


def worker(case: Case) -> str:
    return worker_killed(case, "processes", "spawn_main")


def ray_worker(case: Case) -> str:
    try:
        import ray  # noqa: F401
    except ImportError:
        return "not tried: ray is not installed"
    return worker_killed(case, "ray", "ray::_elsewhere")


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow server` on SQLite, once it answers."""
    from urllib.request import urlopen

    stores = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "kept")]
    line = [sys.executable, "-m", "mlflow", "server", *stores, "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                break
            time.sleep(0.25)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tracking_server(case: Case) -> str:
    """Kill the server once it holds the first run, start it again, sync twice; count what it holds."""
    import sqlite3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    database = case.home / "server.db"

    def count(condition: str) -> int:
        with contextlib.closing(sqlite3.connect(database)) as opened, contextlib.suppress(sqlite3.OperationalError):
            query = "select count(*) from runs r join tags t using (run_uuid) where r.lifecycle_stage = 'active' and "
            return int(opened.execute(query + condition).fetchone()[0])
        return 0

    with server(case.home, port) as process:
        run = case.started(*case.command(track=True), env=environment)
        while run.poll() is None and count("t.key = 'level'") < 2:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        said = ended(run)
    before = count("t.key = 'complete'")
    program = f"import json; from harness import api; print(json.dumps(api.sync({str(case.home)!r})))"
    with server(case.home, port):
        line = [sys.executable, "-c", program]
        wrote = [json.loads(subprocess.check_output(line, env=environment)).get("written") for _ in range(2)]
        systems, cells = count("t.key = 'complete'"), count("t.key = 'level' and t.value = 'cell'")
    wanted = [len(said["systems"]), sum(len(system["cells"]) for system in said["systems"])]
    if [systems, cells] != wanted or wrote[1] != 0 or said["tasks"]["failed"]:
        raise RuntimeError(f"MLflow holds {systems} systems and {cells} cells, not {wanted}; sync wrote {wrote}")
    return f"run ended well; {before} of {systems} systems stood, sync wrote {wrote[0]}, then {wrote[1]}; {cells} cells"


def full_disk(case: Case) -> str:
    """Let the store's disk be full in the middle; then give it room and run again."""
    case.store.folder.mkdir(parents=True)
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(case.store.folder)]
    if mounted and subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        try:
            process = case.started(*case.command())
            _, said = process.communicate(timeout=200)
            stood = len(results(case.store)[0])
            subprocess.run(["mount", "-o", "remount,size=64m", str(case.store.folder)], check=True)
            again, _ = finished(case.command())
            shutil.copytree(case.store.folder, case.home / "copy")
        finally:
            subprocess.run(["umount", str(case.store.folder)], check=True)
        case.store.folder.rmdir()
        (case.home / "copy").rename(case.store.folder)
        reason = said.strip().splitlines()[-1][:60] if process.returncode else "NO ERROR"
        return f"tmpfs of 200 kB: ended with {process.returncode} ('{reason}'), {stood} stood; {again['reused']} reused"
    limit = 4096

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = case.started(*case.command(), preexec_fn=small)
    process.communicate(timeout=200)
    again, _ = finished(case.command())
    return f"files of at most {limit} bytes: ended with {process.returncode}; run again: {again['reused']} reused"


def corrupted(case: Case) -> str:
    """Flip a bit in every result and cut every third record, of a run that was complete; the harness's records are lost too."""
    finished(case.command())
    files = [path for path in sorted(case.store.folder.glob("*/*")) if path.parent.name not in {"failed", "claims"}]
    data = [path for path in files if path.suffix != ".json" or path.name.endswith(".data.json")]
    for path in data:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    cut = [path for path in files if path not in data][::3]
    for path in cut:
        path.write_bytes(path.read_bytes()[:20])
    shutil.rmtree(case.home / "records")
    case.watcher.seen.clear()
    progress, _ = finished(case.command())
    return (
        f"{len(data)} objects, {len(cut)} records of them cut: {progress['computed']} computed, others mended when read"
    )


def clock(case: Case) -> str:
    """Two coordinators, the clock of one jumping; dates of claims that jump; and a dead one's claim from the future."""
    claims = case.store.folder / "claims"
    claims.mkdir(parents=True)
    dead = next(iter(case.expected)).split()[1]
    (claims / dead).write_text("elsewhere 1 1")
    os.utime(claims / dead, (time.time() + 7200, time.time() + 7200))
    over, jumps = threading.Event(), 0

    def jump() -> None:
        nonlocal jumps
        while not over.wait(0.2):
            for path in claims.glob("*"):
                if path.name != dead:
                    jumps += 1
                    with contextlib.suppress(FileNotFoundError):
                        os.utime(path, (time.time() + (-1) ** jumps * 7200,) * 2)

    thread = threading.Thread(target=jump, daemon=True)
    thread.start()
    both = [case.started(*case.command(before=SHORT_LEASE + jumped)) for jumped in ("", JUMPED)]
    computed = [ended(process)["tasks"]["computed"] for process in both]
    over.set()
    thread.join()
    return f"{jumps} dates moved by two hours; computed {' + '.join(map(str, computed))} of {len(case.expected)}"


def two(case: Case) -> str:
    """The same grid twice at once."""
    both = [case.started(*case.command()) for _ in range(2)]
    computed = [ended(process)["tasks"]["computed"] for process in both]
    return f"computed {' + '.join(map(str, computed))} of {len(case.expected)}"


FAULTS: dict[str, Callable[[Case], str]] = {
    "SIGKILL of the coordinator": coordinator,
    "SIGKILL of a worker process": worker,
    "SIGKILL of the tracking server": tracking_server,
    "full disk": full_disk,
    "every object corrupted": corrupted,
    "clock that jumps": clock,
    "two coordinators on one store": two,
    "Ray worker lost": ray_worker,
}


def injected(fault: Callable[[Case], str], home: Path, expected: dict[str, str]) -> tuple[str, str]:
    """What was seen, and what was lost."""
    home.mkdir(parents=True)
    watcher = Watcher(home / "store")
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    try:
        seen = fault(Case(home, expected, watcher))
    except (RuntimeError, SystemExit, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}", "THE RUN"
    finally:
        watcher.stop.set()
        thread.join()
    if seen.startswith("not tried"):
        return seen, "?"
    found, broken = results(Store(home / "store"))
    differ = sum(expected.get(key) != found.get(key) for key in expected.keys() | found.keys())
    failed = len(list((home / "store" / "failed").glob("*.json")))
    twice = 0 if fault in (full_disk, corrupted) else len(watcher.twice)  # moved there, and meant to be here
    counts = {"missing or different": differ, "half-written": broken, "failed": failed, "computed twice": twice}
    return seen, ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"


def asked(about: str | None) -> str:
    """The command line's `--only`, and the environment in which faults are injected."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    only: str = parser.parse_args().only
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return only


def told(faults: Iterable[str], only: str, results: int, inject: Callable[[int, str], tuple[str, str]]) -> int:
    """Prints a line for each fault: its name, seconds, what was lost; status 0 if nothing was. inject: by number and name."""
    print(f"undisturbed: {results} results\n\n{'injected':31} {'s':>4}  what was lost", flush=True)
    lost = 0
    for number, title in enumerate(faults):
        if only not in title:
            continue
        start = time.perf_counter()
        seen, what = inject(number, title)
        lost += what not in {"nothing", "?"}
        print(f"{title:31} {time.perf_counter() - start:4.0f}  {what} ({seen})", flush=True)
    return int(bool(lost))


def main() -> int:
    """Status 0 if nothing was lost."""
    only = asked(__doc__)
    with tempfile.TemporaryDirectory(prefix="harness-faults-") as name:
        alone = Case(Path(name) / "alone", {}, Watcher(Path(name)))
        finished(alone.command())
        expected, _ = results(alone.store)
        folder = Path(name)
        return told(FAULTS, only, len(expected), lambda at, title: injected(FAULTS[title], folder / str(at), expected))


if __name__ == "__main__":
    sys.exit(main())
