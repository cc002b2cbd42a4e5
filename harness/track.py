"""Records -> MLflow: the only file that imports mlflow.

`python -m harness.track HOME` reads paths of records from standard input, a line each, and writes them while the run goes on;
it is the one writer of a run folder, under a lock, and nothing waits for it but the end of the run.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from harness.mlflow_page import experiment_note, rank_tag, system_note, table, views
from harness.rank import Ranked, ranked
from harness.records import records_of
from harness.references import with_references
from harness.tracked import Content, cell_run, digest, identity, newest, system_run

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

REQUESTS = 8  # to a server at once; a database takes one writer
QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(home: Path) -> str:
    """MLFLOW_TRACKING_URI, or SQLite in the run folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(home / 'mlflow.db').resolve()}"


def remote(home: Path) -> bool:
    """Whether the tracking store is a server, not a database that this process opens."""
    return tracking_uri(home).startswith(("http:", "https:", "databricks"))


def client(home: Path) -> MlflowClient:
    """A client on the run folder's tracking store, quiet on standard output."""
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    home.mkdir(parents=True, exist_ok=True)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri(home))


@contextmanager
def locked(home: Path) -> Iterator[TextIO]:
    """One writer at a time in a run folder; the file holds the name of the last."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "tracking.lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@dataclass
class _Known:
    """What MLflow holds of a suite: its experiment, and by identity the runs of its systems."""

    where: str
    systems: dict[str, list[_Standing]] = field(default_factory=dict)


@dataclass
class _Standing:
    """A complete run of a system."""

    run: str
    key: str
    content: str
    created: str
    superseded: bool
    rank: str = ""


@dataclass
class Tracker:
    """Writes the records of a run folder; what MLflow holds is read once, and again after another writer was there."""

    home: Path
    server: MlflowClient
    known: dict[str, _Known] = field(default_factory=dict)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def place(self) -> str:
        """Names machine and run folder, so that another's half-written runs on a shared server are left alone."""
        return hashlib.sha256(f"{platform.node()} {self.home.resolve()}".encode()).hexdigest()[:12]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Under the lock; forgets what it knows if another wrote since the last time."""
        with locked(self.home) as file:
            file.seek(0)
            if file.read() != self.name:
                self.known.clear()
                file.truncate(0)
                file.write(self.name)
                file.flush()
            yield

    def write(self, record: Mapping[str, Any]) -> bool:
        """Write a system and its cells as a parent run and nested runs; False if they stand already.

        The tag `complete` is set last; runs without it are deleted first, older runs of the same system are superseded.
        """
        with self.alone():
            suite = self._suite(record["suite"])
            standing = suite.systems.setdefault(identity(record), [])
            made = next((e for e in standing if e.key == record["id"] and e.content == digest(record)), None)
            new = made is None
            if made is None:
                run = self._new(suite.where, record)
                made = _Standing(run, str(record["id"]), digest(record), str(record["created"]), False)
                standing.append(made)
            last = max(standing, key=lambda each: (each.created, each is made))
            for each in standing:  # also where an earlier writer was killed in between
                if each is not last and not each.superseded:
                    self._supersede(suite.where, each)
            return new

    def _new(self, where: str, record: Mapping[str, Any]) -> str:
        parent = self._create(where, system_run(record), {"writer": self.place})
        children = self._cells(where, record, parent)
        self._artifacts(parent, record)
        self.server.set_terminated(parent, "FINISHED" if record["complete"] else "FAILED")
        note = system_note(record, where, children)
        self._batch(parent, system_run(record), {"mlflow.note.content": note, "complete": "yes"})
        return parent

    def _cells(self, where: str, record: Mapping[str, Any], parent: str) -> list[str]:
        """The runs of the cells, in their order; what a request that was repeated made twice is deleted."""

        def written(cell: Mapping[str, Any]) -> str:
            return self._cell(where, cell_run(record, cell), parent)

        if not remote(self.home):
            return [written(cell) for cell in record["cells"]]
        with ThreadPoolExecutor(REQUESTS) as pool:
            made = list(pool.map(written, record["cells"]))
        for stray in set(_children(self.server, where, parent)) - set(made):
            self.server.delete_run(stray)
        return made

    def _cell(self, where: str, content: Content, parent: str) -> str:
        run = self._create(where, content, {"mlflow.parentRunId": parent})
        self._batch(run, content, {})
        self.server.set_terminated(run)
        return run

    def _create(self, where: str, content: Content, tags: dict[str, str]) -> str:
        return str(self.server.create_run(where, tags=content.tags | tags, run_name=content.name).info.run_id)

    def _batch(self, run: str, content: Content, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in content.metrics.items()]
        metrics += [Metric(name, v, now, step) for name, points in content.curves.items() for step, v in points]
        self.server.log_batch(
            run,
            metrics=metrics,
            params=[Param(name, value) for name, value in content.params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )

    def _artifacts(self, run: str, record: Mapping[str, Any]) -> None:
        """The record with its outcomes, and the pictures."""
        for suffix in (".json", ".parquet"):
            path = self.home / "records" / f"{record['id']}{suffix}"
            if path.is_file():
                self.server.log_artifact(run, str(path))
        if record["gallery"]:
            with tempfile.TemporaryDirectory() as folder:
                for picture in record["gallery"]:
                    for kind in ("clean", "adversarial", "difference"):
                        path = Path(folder) / f"{picture['index']:05d}_{kind}.png"
                        path.write_bytes(base64.b64decode(picture[f"{kind}_png"]))
                self.server.log_artifacts(run, folder, "gallery")

    def _suite(self, suite: str) -> _Known:
        """What MLflow holds of a suite; half-written runs of this run folder are deleted."""
        if suite not in self.known:
            where = experiment(self.server, suite, self.home)
            found = _Known(where)
            for run in _search(self.server, where, "tags.level = 'system'"):
                tags = run.data.tags
                if tags.get("complete") == "yes":
                    found.systems.setdefault(tags.get("identity", ""), []).append(_standing(run))
                elif tags.get("writer") in (self.place, None):
                    self._delete(where, run.info.run_id)
            self.known[suite] = found
        return self.known[suite]

    def _delete(self, where: str, run: str) -> None:
        for child in _children(self.server, where, run):
            self.server.delete_run(child)
        self.server.delete_run(run)

    def _supersede(self, where: str, standing: _Standing) -> None:
        for run in (*_children(self.server, where, standing.run), standing.run):
            self.server.set_tag(run, "superseded", "yes")
        standing.superseded = True

    def publish(self, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Write ranks, saved views, description and leaderboard run of every suite; returns the link of each ranking."""
        links: dict[str, str] = {}
        for suite in sorted({record["suite"] for record in records}):
            with self.alone():
                known = self._suite(suite)
                places = ranked(newest(record for record in records if record["suite"] == suite))
                runs = self._ranks(known, places)
                _describe(
                    self.server, known.where, places, runs, _board_run(self.server, known.where, places, self.home)
                )
                links[suite] = ranking_link(known.where)
        return links

    def _ranks(self, known: _Known, places: Sequence[Ranked]) -> dict[str, str]:
        """The run of each ranked record by its id, tagged with its rank."""
        runs: dict[str, str] = {}
        for place in places:
            for each in known.systems.get(identity(place.record), []):
                if each.superseded:
                    continue
                runs[each.key] = each.run
                if each.rank != rank_tag(place):
                    self.server.set_tag(each.run, "rank", rank_tag(place))
                    each.rank = rank_tag(place)
        return runs


def experiment(server: MlflowClient, suite: str, home: Path) -> str:
    """The id of a suite's experiment, made where it is missing; raises RuntimeError if it was deleted."""
    found = server.get_experiment_by_name(suite)
    if found is not None and found.lifecycle_stage == "deleted":
        raise RuntimeError(
            f"the MLflow experiment '{suite}' was deleted; restore it, or empty the bin with `mlflow gc`"
        )
    if found is not None:
        return str(found.experiment_id)
    place = None if remote(home) else (home / "artifacts" / suite).resolve().as_uri()
    return str(server.create_experiment(suite, artifact_location=place))


def ranking_link(where: str) -> str:
    """The part of an address that opens an experiment's ranking."""
    return f"#/experiments/{where}/runs?viewStateShareKey=ranking&workflowType=machine_learning"


def _standing(run: Run) -> _Standing:
    tags = run.data.tags
    key, content, created, rank = (str(tags.get(name, "")) for name in ("key", "content", "created", "rank"))
    return _Standing(str(run.info.run_id), key, content, created, tags.get("superseded") == "yes", rank)


def _search(server: MlflowClient, where: str, condition: str) -> Iterator[Run]:
    token = None
    while True:
        page = server.search_runs([where], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _children(server: MlflowClient, where: str, run: str) -> list[str]:
    return [str(r.info.run_id) for r in _search(server, where, f"tags.`mlflow.parentRunId` = '{run}'")]


def _board_run(server: MlflowClient, where: str, places: Sequence[Ranked], home: Path) -> str:
    """The leaderboard run, which holds the files of the board; made anew when they changed, and the old one deleted."""
    files = sorted((home / "board").glob("leaderboard.*"))
    if not files:
        return ""
    ranking = json.dumps(table(places))
    content = hashlib.sha256(b"".join([ranking.encode(), *(path.read_bytes() for path in files)])).hexdigest()[:16]
    old = list(_search(server, where, "tags.level = 'leaderboard'"))
    for run in old:
        if run.data.tags.get("content") == content:
            return str(run.info.run_id)
    tags = {"level": "leaderboard", "superseded": "no"}
    tags["mlflow.note.content"] = (
        "Open the artifact `leaderboard.html`; `.md`, `.csv` and `ranking.json` hold its table."
    )
    tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "ranking.json", "type": "table"}])
    new = str(server.create_run(where, tags=tags, run_name="leaderboard").info.run_id)
    for path in files:
        server.log_artifact(new, str(path))
    server.log_text(new, ranking, "ranking.json")
    server.set_terminated(new)
    server.set_tag(new, "content", content)
    for run in old:
        server.delete_run(run.info.run_id)
    return new


def _describe(server: MlflowClient, where: str, places: Sequence[Ranked], runs: Mapping[str, str], board: str) -> None:
    """The experiment's saved views and its description; what stands already is not written again."""
    standing = server.get_experiment(where).tags
    now = int(time.time() * 1000)
    for name, state in views().items():
        tag = f"mlflow.sharedViewState.{name}"
        if json.loads(standing.get(tag, "{}")).get("state") != state:
            content = {"name": name, "createdAt": now, "updatedAt": now, "state": state}
            server.set_experiment_tag(where, tag, json.dumps(content))
    note = experiment_note(where, places, runs, board)
    if standing.get("mlflow.note.content") != note:
        server.set_experiment_tag(where, "mlflow.note.content", note)


def run_id(home: Path, record: Mapping[str, Any]) -> str | None:
    """The id of a record's run, or None where MLflow has none or does not answer."""
    try:
        server = client(home)
        found = server.get_experiment_by_name(record["suite"])
        condition = f"tags.level = 'system' AND tags.key = '{record['id']}' AND tags.complete = 'yes'"
        runs = list(_search(server, str(found.experiment_id), condition)) if found else []
    except Exception:
        return None
    return str(runs[0].info.run_id) if runs else None


def write_all(paths: Iterable[str], home: Path) -> dict[str, Any]:
    """Write each record as its path arrives, then publish; returns how many systems were written, and the links."""
    tracker: Tracker | None = None
    written = 0
    for line in paths:
        path = Path(line.strip())
        if path.is_file():
            tracker = tracker or Tracker(home, client(home))
            written += tracker.write(json.loads(path.read_text(encoding="utf-8")))
    own = records_of(home)
    if not own:
        return {"written": written, "links": {}}
    tracker = tracker or Tracker(home, client(home))
    records = with_references(own, everywhere=False)
    for record in records:
        if record.get("reference"):
            tracker.write(record)
    return {"written": written, "links": tracker.publish(records)}


@contextmanager
def answering(home: Path) -> Iterator[None]:
    """What MLflow's client raises inside, as a RuntimeError of one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise RuntimeError(complaint(error, tracking_uri(home))) from error


def complaint(error: Exception, uri: str) -> str:
    """One line on what went wrong; no password of the address in it."""
    text = next(iter(str(error).splitlines()), "")
    place = urlsplit(uri)
    if place.hostname and ("Max retries exceeded" in text or "timed out" in text):
        server = f"{place.scheme}://{place.hostname}{f':{place.port}' if place.port else ''}"
        return f"{server} (MLFLOW_TRACKING_URI) does not answer"
    return f"{type(error).__name__}: {text}"


def main() -> int:
    """The writer process: paths in on standard input, one JSON object out on standard output."""
    home = Path(sys.argv[1])
    try:
        answer = write_all(sys.stdin, home)
    except Exception as error:
        answer = {"error": complaint(error, tracking_uri(home))}
    print(json.dumps(answer), flush=True)
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
