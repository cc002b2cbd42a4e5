"""Records -> MLflow: the only file that imports mlflow.

`python -m harness.track HOME` reads paths of records from standard input, a line each, and writes them while the run goes on;
it is the one writer of a run folder, under a lock, and nothing waits for it but the end of the run.
"""

from __future__ import annotations

import base64
import fcntl
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.rank import Ranked, ranked

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
_SYSTEM_METRICS = {"clean_accuracy": "clean_accuracy", "auroc": "auroc", "false_positive_rate": "false_positive_rate"}
_VIEWS = {
    "ranking": {
        "searchFilter": "tags.level = 'system' AND tags.superseded = 'no'",
        "orderByKey": "metrics.`robust_accuracy`",
        "orderByAsc": False,
        "selectedColumns": [
            *(
                f"metrics.`{name}`"
                for name in ("robust_accuracy", "robust_low", "robust_high", "clean_accuracy", "auroc")
            ),
            *(f"tags.`{name}`" for name in ("rank", "flags", "dataset", "victim", "defense", "headline", "size")),
        ],
    },
    "cells": {
        "searchFilter": "tags.level = 'cell' AND tags.superseded = 'no'",
        "orderByKey": "metrics.`cell_robust_accuracy`",
        "orderByAsc": True,
        "selectedColumns": [
            *(
                f"metrics.`{name}`"
                for name in ("cell_robust_accuracy", "cell_low", "cell_high", "cell_seconds", "cell_forwards")
            ),
            *(f"tags.`{name}`" for name in ("defense", "attack", "norm", "epsilon", "knowledge", "dataset", "victim")),
        ],
    },
    "by-defense": {
        "searchFilter": "tags.level = 'system' AND tags.superseded = 'no'",
        "orderByKey": "metrics.`robust_accuracy`",
        "orderByAsc": False,
        "selectedColumns": ["metrics.`robust_accuracy`", "metrics.`clean_accuracy`", "tags.`dataset`", "tags.`victim`"],
        "groupBy": {"aggregateFunction": "min", "groupByKeys": [{"mode": "tag", "groupByData": "defense"}]},
    },
}


def tracking_uri(home: Path) -> str:
    """MLFLOW_TRACKING_URI, or SQLite in the run folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(home / 'mlflow.db').resolve()}"


def client(home: Path) -> MlflowClient:
    """A client on the run folder's tracking store, quiet on standard output."""
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    home.mkdir(parents=True, exist_ok=True)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri(home))


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """One writer at a time in a run folder."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "tracking.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def experiment(server: MlflowClient, suite: str, home: Path) -> str:
    """The id of a suite's experiment, made where it is missing; raises RuntimeError if it was deleted."""
    found = server.get_experiment_by_name(suite)
    if found is not None and found.lifecycle_stage == "deleted":
        raise RuntimeError(
            f"the MLflow experiment '{suite}' was deleted; restore it, or empty the bin with `mlflow gc`"
        )
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri(home).startswith("sqlite:")
    place = (home / "artifacts" / suite).resolve().as_uri() if local else None
    return str(server.create_experiment(suite, artifact_location=place))


def write(record: Mapping[str, Any], server: MlflowClient, home: Path) -> bool:
    """Write a system and its cells as a parent run and nested runs; False if they stand already.

    The tag `complete` is set last; runs without it are deleted first, older runs of the same system are superseded.
    """
    where = experiment(server, record["suite"], home)
    if _stands(server, where, record):
        return False
    parent = _log(server, where, f"{record['defense']} @ {record['dataset']}", _system_run(record))
    for cell in record["cells"]:
        name = f"{cell['attack']} {cell['norm']} {cell['epsilon']:g} {cell['knowledge']}"
        tags, params, numbers = _cell_run(record, cell)
        child = _log(server, where, name, (tags | {"mlflow.parentRunId": parent}, params, numbers))
        server.set_terminated(child)
    folder = home / "records"
    for path in (folder / f"{record['id']}.json", folder / f"{record['id']}.parquet"):
        if path.is_file():
            server.log_artifact(parent, str(path))
    _log_pictures(server, parent, record)
    server.set_tag(parent, "complete", "yes")
    server.set_terminated(parent, "FINISHED" if record["complete"] else "FAILED")
    return True


def _stands(server: MlflowClient, where: str, record: Mapping[str, Any]) -> bool:
    """Whether the record's run is complete; supersedes other runs of the system and deletes what was left half-written."""
    same = " AND ".join(
        f"tags.{name} = '{_quoted(record[name])}'"
        for name in ("dataset", "victim", "defense", "size")
        if record.get(name)
    )
    runs = _search(server, where, f"tags.level = 'system' AND {same}")
    stands = False
    for run in runs:
        tags = run.data.tags
        if tags.get("complete") != "yes":
            _delete(server, where, run)
        elif tags.get("key") == _run_key(record) and record["complete"]:
            stands = True
        elif tags.get("superseded") == "no" and tags.get("seed") == str(record["seed"]):
            _supersede(server, where, run)
    return stands


def _run_key(record: Mapping[str, Any]) -> str:
    return str(record["id"])


def _quoted(text: object) -> str:
    return str(text).replace("'", "\\'")


def _search(server: MlflowClient, where: str, condition: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = server.search_runs([where], condition, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _children(server: MlflowClient, where: str, run: Run) -> list[Run]:
    return _search(server, where, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")


def _delete(server: MlflowClient, where: str, run: Run) -> None:
    for child in _children(server, where, run):
        server.delete_run(child.info.run_id)
    server.delete_run(run.info.run_id)


def _supersede(server: MlflowClient, where: str, run: Run) -> None:
    for each in (run, *_children(server, where, run)):
        server.set_tag(each.info.run_id, "superseded", "yes")


Content = tuple[dict[str, str], dict[str, Any], dict[str, float]]


def _log(server: MlflowClient, where: str, name: str, content: Content) -> str:
    from mlflow.entities import Metric, Param

    tags, params, numbers = content
    run = server.create_run(where, tags={k: str(v)[:4999] for k, v in tags.items()}, run_name=name[:250])
    now = int(time.time() * 1000)
    metrics = [Metric(k, float(v), now, 0) for k, v in numbers.items() if v is not None and math.isfinite(v)]
    server.log_batch(run.info.run_id, metrics=metrics, params=[Param(k, str(v)[:5999]) for k, v in params.items()])
    return str(run.info.run_id)


def _axes(record: Mapping[str, Any]) -> dict[str, str]:
    environment = record["environment"]
    axes = {
        name: str(record[name])
        for name in ("suite", "grid", "size", "dataset", "victim", "defense", "seed", "track", "status")
    }
    return axes | {
        "commit": str(environment.get("commit", "")),
        "dirty": str(environment.get("dirty", "")),
        "superseded": "no",
        "key": _run_key(record),
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)


def _system_run(record: Mapping[str, Any]) -> Content:
    headline, metrics = record["headline"], record["metrics"]
    fired = [flag["name"] for flag in record["flags"] if flag["fired"] and flag["severity"] == "warning"]
    tags = _axes(record) | {
        "level": "system",
        "flags": ", ".join(fired) or "none",
        "headline": f"{headline['norm']} {headline['epsilon']:g} {headline['knowledge']}",
        "mlflow.note.content": _system_note(record),
    }
    params = {f"{p['name']}/{k}": v for p in record.get("parts", []) for k, v in p["parameters"].items()}
    params = {_name(k): v for k, v in params.items()} | {"inputs": record["inputs"], "command": record["command"]}
    robust = metrics.get("robust_accuracy") or {}
    numbers = {new: _percent((metrics.get(old) or {}).get("value")) for old, new in _SYSTEM_METRICS.items()}
    numbers |= {"robust_accuracy": _percent(robust.get("value"))}
    numbers |= {"robust_low": _percent(robust.get("low")), "robust_high": _percent(robust.get("high"))}
    numbers |= {"seconds": record.get("seconds"), "forwards": record.get("forwards")}
    return tags, params, {k: v for k, v in numbers.items() if v is not None}


def _name(text: str) -> str:
    """A name that MLflow accepts."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in text)[:250]


def _system_note(record: Mapping[str, Any]) -> str:
    lines = [f"Repeat: `{record['command']}`", ""]
    lines += [f"- {'⚑ ' if flag['fired'] else ''}**{flag['name']}**: {flag['text']}" for flag in record["flags"]]
    lines += [f"- failed: {failure['task']}: {failure['error']}" for failure in record["failed"][:10]]
    return "\n".join(lines)


def _cell_run(record: Mapping[str, Any], cell: Mapping[str, Any]) -> Content:
    axes = {
        name: f"{cell[name]:g}" if name == "epsilon" else str(cell[name])
        for name in ("attack", "norm", "epsilon", "knowledge")
    }
    robust = cell["robust_accuracy"]
    numbers = {
        "cell_robust_accuracy": _percent(robust["value"]),
        "cell_low": _percent(robust["low"]),
        "cell_high": _percent(robust["high"]),
        "cell_broken": cell["broken"],
        "cell_median_distance": cell["median_distance"],
        "cell_seconds": cell["seconds"],
        "cell_forwards": cell["forwards"],
        "cell_backwards": cell["backwards"],
    }
    return _axes(record) | axes | {"level": "cell"}, {}, {k: v for k, v in numbers.items() if v is not None}


def _log_pictures(server: MlflowClient, run: str, record: Mapping[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for picture in record["gallery"]:
            for kind in ("clean", "adversarial", "difference"):
                path = Path(folder) / f"{picture['index']:05d}_{kind}.png"
                path.write_bytes(base64.b64decode(picture[f"{kind}_png"]))
        if record["gallery"]:
            server.log_artifacts(run, folder, "gallery")


def publish(records: Sequence[Mapping[str, Any]], server: MlflowClient, home: Path) -> dict[str, str]:
    """Write ranks, saved views, the description and the leaderboard run of every suite; returns the link of each."""
    links: dict[str, str] = {}
    for suite in sorted({record["suite"] for record in records}):
        where = experiment(server, suite, home)
        order = ranked([record for record in records if record["suite"] == suite])
        runs = {
            run.data.tags.get("key", ""): run
            for run in _search(server, where, "tags.level = 'system' AND tags.superseded = 'no'")
        }
        for place in order:
            run = runs.get(_run_key(place.record))
            text = f"{place.rank}{' =' if place.tied else ''}{' ⚑' if place.flagged else ''}"
            if run is not None and run.data.tags.get("rank") != text:
                server.set_tag(run.info.run_id, "rank", text)
        board = _board_run(server, where, home)
        _describe(server, where, order, {key: run.info.run_id for key, run in runs.items()}, board)
        links[suite] = f"#/experiments/{where}/runs?viewStateShareKey=ranking&workflowType=machine_learning"
    return links


def _board_run(server: MlflowClient, where: str, home: Path) -> str:
    """A new leaderboard run in place of the old one, holding the files of the board."""
    for old in _search(server, where, "tags.level = 'leaderboard'"):
        server.delete_run(old.info.run_id)
    tags = {"level": "leaderboard", "superseded": "no", "mlflow.note.content": "Open the artifact leaderboard.html."}
    run = server.create_run(where, tags=tags, run_name="leaderboard")
    for path in sorted((home / "board").glob("leaderboard.*")):
        server.log_artifact(run.info.run_id, str(path))
    server.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _describe(server: MlflowClient, where: str, order: Sequence[Ranked], runs: Mapping[str, str], board: str) -> None:
    """The experiment's saved views and its description, whose first line is the answer."""
    now = int(time.time() * 1000)
    for name, view in _VIEWS.items():
        state = "deflate;" + base64.b64encode(zlib.compress(json.dumps(view).encode())).decode()
        content = {"name": name, "createdAt": now, "updatedAt": now, "state": state}
        server.set_experiment_tag(where, f"mlflow.sharedViewState.{name}", json.dumps(content))
    server.set_experiment_tag(where, "mlflow.note.content", _note(where, order, runs, board))


def _note(where: str, order: Sequence[Ranked], runs: Mapping[str, str], board: str) -> str:
    base = f"#/experiments/{where}/runs"
    shown = [place for place in order if place.record["complete"]]
    first = " · ".join(
        f"**{place.rank}**{' ⚑' if place.flagged else ''} [{_plain(place.record['defense'])}]"
        f"({base}/{runs.get(_run_key(place.record), '')}) {_score(place.record)}"
        for place in shown[:3]
    )
    ranking = f"[ranking]({base}?viewStateShareKey=ranking&workflowType=machine_learning)"
    lines = [f"{first} — {ranking} · [board]({base}/{board}/artifacts/leaderboard.html)", ""]
    lines += ["| rank | defense | victim | data | robust % (95 %) | clean % | flags |", "|---|---|---|---|---|---|---|"]
    for place in shown[:20]:
        record = place.record
        flags = ", ".join(f["name"] for f in record["flags"] if f["fired"] and f["severity"] == "warning")
        clean = _percent((record["metrics"].get("clean_accuracy") or {}).get("value"))
        cells = [
            place.rank,
            _plain(record["defense"]),
            record["victim"],
            record["dataset"],
            _interval(record),
            clean,
            flags,
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A stranger's name without what Markdown or HTML would read."""
    return "".join(c for c in text if c not in "[]()<>|*`\\") if any(c in "[]<>|*`\\" for c in text) else text


def _score(record: Mapping[str, Any]) -> str:
    value = _percent((record["metrics"].get("robust_accuracy") or {}).get("value"))
    return "–" if value is None else f"{value:.1f}"


def _interval(record: Mapping[str, Any]) -> str:
    robust = record["metrics"].get("robust_accuracy")
    return f"{100 * robust['value']:.1f} ({100 * robust['low']:.1f} – {100 * robust['high']:.1f})" if robust else "–"


def records_of(home: Path) -> list[dict[str, Any]]:
    """All records of a run folder, unreadable ones left out."""
    found = []
    for path in sorted((home / "records").glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except json.JSONDecodeError:
            print(f"{path} is not valid JSON and was left out; run the grid again", file=sys.stderr)
    return found


def run_id(home: Path, record: Mapping[str, Any]) -> str | None:
    """The id of a record's run, or None where MLflow has none or does not answer."""
    try:
        server = client(home)
        found = server.get_experiment_by_name(record["suite"])
        runs = (
            _search(server, str(found.experiment_id), f"tags.level = 'system' AND tags.key = '{_run_key(record)}'")
            if found
            else []
        )
    except Exception:
        return None
    return str(runs[0].info.run_id) if runs else None


def write_all(paths: Iterable[str], home: Path) -> dict[str, Any]:
    """Write each record as its path arrives, then publish; returns how many runs were written, and the links."""
    server: MlflowClient | None = None
    written = 0
    for line in paths:
        path = Path(line.strip())
        if not path.is_file():
            continue
        server = server or client(home)
        with locked(home):
            written += write(json.loads(path.read_text(encoding="utf-8")), server, home)
    records = records_of(home)
    with locked(home):
        links = publish(records, server or client(home), home) if records else {}
    return {"written": written, "links": links}


def main() -> int:
    """The writer process: paths in on standard input, one JSON object out on standard output."""
    home = Path(sys.argv[1])
    try:
        answer = write_all(sys.stdin, home)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    print(json.dumps(answer), flush=True)
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
