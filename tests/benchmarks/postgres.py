"""Records at scale: PostgreSQL behind `mlflow server`, written to by the harness: `python tests/benchmarks/postgres.py`.

Starts a PostgreSQL cluster and an `mlflow server` of its own in a temporary folder, both on free ports, and writes synthetic
records of the harness's form through its writer process: seconds a run, counted with the nested runs of the cells. Then more
records are sent and the server is killed in the middle; it is started again, and `harness sync` runs twice. What stands is
counted in the database: every system once, complete, with each of its cells once, and nothing written by the second sync.
Needs the programs of PostgreSQL (`apt-get install postgresql`) and `psycopg2-binary`; not as root, or with `runuser`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2
from mlflow_writer import Record, record

from harness import api

SYSTEMS = """
select key.value, count(*) from runs
join tags level on level.run_uuid = runs.run_uuid and level.key = 'level' and level.value = 'system'
join tags key on key.run_uuid = runs.run_uuid and key.key = 'key'
left join tags complete on complete.run_uuid = runs.run_uuid and complete.key = 'complete'
where runs.lifecycle_stage = 'active' and (complete.value = 'yes') is {complete}
group by key.value
"""
CELLS = """
select parent.value, epsilon.value, count(*) from runs
join tags level on level.run_uuid = runs.run_uuid and level.key = 'level' and level.value = 'cell'
join tags parent on parent.run_uuid = runs.run_uuid and parent.key = 'mlflow.parentRunId'
join tags epsilon on epsilon.run_uuid = runs.run_uuid and epsilon.key = 'epsilon'
where runs.lifecycle_stage = 'active' and runs.status = 'FINISHED'
group by parent.value, epsilon.value
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def programs() -> Path:
    """The folder of initdb and pg_ctl; raises SystemExit if PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    here = shutil.which("initdb")
    if not found and here is None:
        raise SystemExit("initdb was not found; install PostgreSQL, e.g. `apt-get install postgresql`")
    return found[-1].parent if found else Path(str(here)).parent


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A cluster in a folder, owned by the user `postgres` where this is root; gives its address."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data, port = folder / "cluster", free_port()
    data.mkdir()
    if user:
        shutil.chown(data, "postgres", "postgres")
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    initdb = [f"{programs()}/initdb", "-D", str(data), "-A", "trust", "-U", "harness", "-E", "UTF8", "--locale", "C"]
    control = [f"{programs()}/pg_ctl", "-D", str(data), "-w"]
    subprocess.run([*user, *initdb], **quiet)
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
    subprocess.run([*user, *control, "-l", f"{data}/log", "-o", options, "start"], **quiet)
    try:
        yield f"postgresql://harness@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*user, *control, "-m", "immediate", "stop"], **quiet)


class Server:
    """`mlflow server` on a database, which can be killed and started again."""

    def __init__(self, database: str, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.address = f"http://127.0.0.1:{self.port}"
        tail = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "2"]
        driver = database.replace("://", "+psycopg2://", 1)  # SQLAlchemy's own choice may be another driver
        stores = ["--backend-store-uri", driver, "--artifacts-destination", str(folder / "artifacts")]
        self.command = [sys.executable, "-m", "mlflow", "server", *stores, *tail]
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers; raises SystemExit with what it said if it does not."""
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)
        for _ in range(240):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=2):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.5)
        raise SystemExit(f"mlflow server did not start:\n{(self.folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def saved(records: Sequence[Record], home: Path) -> list[Path]:
    """Write the records where the harness keeps them."""
    (home / "records").mkdir(parents=True, exist_ok=True)
    paths = [home / "records" / f"{made['id']}.json" for made in records]
    for path, made in zip(paths, records, strict=True):
        path.write_text(json.dumps(made), encoding="utf-8")
    return paths


def sent(paths: Sequence[Path], home: Path) -> api.Writer:
    writer = api.Writer(home)
    for path in paths:
        writer.send(path)
    return writer


def sync(home: Path) -> dict[str, Any]:
    """`harness sync`, as an own process."""
    program = f"import json; from harness import api; print(json.dumps(api.sync({str(home)!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def account(database: str, expected: Sequence[Record]) -> dict[str, int]:
    """What is missing in the database, and what is in it twice or half."""
    systems = Counter(dict(rows(database, SYSTEMS.format(complete="true"))))
    half = rows(database, SYSTEMS.format(complete="not true"))
    cells = {(parent, epsilon): int(count) for parent, epsilon, count in rows(database, CELLS)}
    wanted = sum(len(made["cells"]) for made in expected)
    return {
        "systems missing": sum(systems[made["id"]] == 0 for made in expected),
        "systems twice": sum(count > 1 for count in systems.values()),
        "systems half-written": len(half),
        "cells missing": wanted - len(cells),
        "cells twice": sum(count > 1 for count in cells.values()),
    }


def main() -> int:
    """Status 0 if nothing is missing and nothing stands twice after the outage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5_000, help="systems and cells together")
    parser.add_argument("--cells", type=int, default=20, help="a system")
    parser.add_argument("--pictures", type=int, default=8, help="a system, three files each")
    parser.add_argument("--outage", type=int, default=10, help="systems sent while the server is killed")
    given = parser.parse_args()
    count = max(1, given.runs // (1 + given.cells))
    made = [full(number, given) for number in range(count + given.outage)]
    with tempfile.TemporaryDirectory(prefix="harness-postgres-") as name, postgres(opened(Path(name))) as database:
        server = Server(database, Path(name))
        os.environ["MLFLOW_TRACKING_URI"] = server.address
        try:
            return compare(server, database, Path(name) / "runs", made, count)
        finally:
            server.kill()


def opened(folder: Path) -> Path:
    """The folder, open to the user of the database."""
    folder.chmod(0o755)
    return folder


def full(number: int, given: argparse.Namespace) -> Record:
    return record(number, given.cells, given.pictures) | {"per_input": {"index": [0, 1], "robust": [1.0, 0.0]}}


def compare(server: Server, database: str, home: Path, made: Sequence[Record], count: int) -> int:
    """Writing, outage, sync, account."""
    runs = sum(1 + len(each["cells"]) for each in made[:count])
    start = time.perf_counter()
    answer = sent(saved(made[:count], home), home).close(3600)
    seconds = time.perf_counter() - start
    wrong = account(database, made[:count])
    print(f"{runs} runs ({count} systems) written in {seconds:.1f} s: {1000 * seconds / runs:.1f} ms a run", flush=True)
    print(f"the writer's answer: {answer.get('error') or answer['written']}; {wrong}", flush=True)
    writer = sent(saved(made[count:], home), home)
    half = count + max(1, (len(made) - count) // 2)
    while len(rows(database, SYSTEMS.format(complete="true"))) < half and writer.process.poll() is None:
        time.sleep(0.02)
    server.kill()
    print(f"server killed; the writer: {writer.close().get('error')}; {account(database, made)}", flush=True)
    server.start()
    first = sync(home)
    after = account(database, made)
    print(f"restarted; sync wrote {first.get('written', first)}; {after}", flush=True)
    second = sync(home)
    last = account(database, made)
    print(f"sync once more wrote {second.get('written', second)}; {last}", flush=True)
    return int(any(after.values()) or any(last.values()) or any(wrong.values()) or second.get("written") != 0)


if __name__ == "__main__":
    sys.exit(main())
