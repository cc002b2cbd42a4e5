"""What MLflow's pages show: the descriptions of systems and suites, and the saved views. Pure functions of records."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from harness.rank import Ranked, group
from harness.tracked import Record, percent, short, threat, warnings

RUN_NOTE, EXPERIMENT_NOTE = 7_800, 19_000  # characters that MLflow keeps, with room to spare
_MODE = "workflowType=machine_learning"
_SIZES = ("official", "dev", "smoke")


def system_note(record: Record, where: str, children: Sequence[str]) -> str:
    """A system's description: its cells, the strongest attack first, then what was found and how to repeat it."""
    base = f"#/experiments/{where}/runs"
    order = sorted(zip(record["cells"], children, strict=True), key=lambda pair: _strength(pair[0]))
    cells = [
        f"| [{_text(short(cell['attack'], 40))}]({base}/{run}?{_MODE}) | {threat(cell)} | {_interval(cell['robust_accuracy'])} |"
        for cell, run in order
    ]
    flags = [f"- {'⚑ ' if flag['fired'] else ''}**{flag['name']}**: {flag['text']}" for flag in record["flags"]]
    failed = [
        f"- failed: {_text(failure['task'])}: {_text(failure['error'][:300])}" for failure in record["failed"][:10]
    ]
    robust = _interval(record["metrics"].get("robust_accuracy"))
    first = [f"Robust {robust} % at {threat(record['headline'])}", ""]
    table = ["| attack | threat | robust % (95 %) |", "|---|---|---|", *cells]
    condition = f"tags.level = 'cell' AND tags.key = '{record['id']}'"
    view = f"More of each cell: the view [cells]({base}?viewStateShareKey=cells&{_MODE}) with the filter `{condition}`."
    rest = ["", *flags, *failed, "", view, "", f"Repeat: `{record['command']}`"]
    room = RUN_NOTE - sum(len(line) + 1 for line in (*first, *rest))
    return "\n".join([*first, *_fitting(table, room), *rest])[:RUN_NOTE]


def _strength(cell: Record) -> tuple[float, float]:
    value = cell["robust_accuracy"]["value"]
    return (math.inf if value is None else value, cell["epsilon"])


def ordered(places: Sequence[Ranked]) -> dict[tuple[Any, ...], list[Ranked]]:
    """Ranked systems by the group they are ranked in, the largest size first."""
    groups: dict[tuple[Any, ...], list[Ranked]] = {}
    for place in places:
        groups.setdefault(group(place.record), []).append(place)
    return dict(sorted(groups.items(), key=lambda item: (_size(item[0][1]), tuple(map(str, item[0])))))


def _size(size: Any) -> int:
    return _SIZES.index(size) if size in _SIZES else len(_SIZES)


def rank_text(place: Ranked) -> str:
    """1, =2 for a tie, ⚑ for a number that a flag speaks against."""
    return f"{'=' if place.tied else ''}{place.rank}{' ⚑' if place.flagged else ''}"


def rank_tag(place: Ranked) -> str:
    """The rank with its size where that is not official, as one view holds the ranks of all sizes."""
    size = str(place.record.get("size") or "official")
    return rank_text(place) + (f" {size}" if size != "official" else "")


def experiment_note(where: str, places: Sequence[Ranked], runs: Mapping[str, str], board: str) -> str:
    """A suite's description: its first line, all that shows while it is folded, is the answer; then the table."""
    base = f"#/experiments/{where}/runs"
    links = f"[ranking]({base}?viewStateShareKey=ranking&{_MODE}) · [cells]({base}?viewStateShareKey=cells&{_MODE})"
    if board:
        links += f" · [board]({base}/{board}/artifacts/leaderboard.html?{_MODE})"
    groups = list(ordered(places).values())
    if not groups:
        return f"No system has a robust accuracy yet — {links}"
    table = [
        "| rank | defense | victim | data | threat | robust % (95 %) | clean % | flags |",
        "|---|---|---|---|---|---|---|---|",
    ]
    table += [_row(place, base, runs) for members in groups for place in members[:20]]
    return "\n".join([f"{_answer(groups, base, runs)} — {links}", "", *_fitting(table, EXPERIMENT_NOTE - 2000)])


def _answer(groups: Sequence[Sequence[Ranked]], base: str, runs: Mapping[str, str]) -> str:
    """The first three of the only group, or the first of each of three groups."""
    if len(groups) > 1:
        firsts = [members[0] for members in groups[:3]]
        return " · ".join(f"**{_of(place.record)}** {_scored(place, base, runs)}" for place in firsts) + " % robust"
    (members,) = groups
    text = " · ".join(f"**{rank_text(place)}** {_scored(place, base, runs)}" for place in members[:3])
    tied = sum(place.rank == members[min(2, len(members) - 1)].rank for place in members[3:])
    more = f" and {tied} more" if tied else ""
    return f"{text}{more} (% robust at {threat(members[0].record['headline'])})"


def _scored(place: Ranked, base: str, runs: Mapping[str, str]) -> str:
    value = percent((place.record["metrics"].get("robust_accuracy") or {}).get("value"))
    return f"{_link(place.record, base, runs)} {'–' if value is None else f'{value:.1f}'}"


def _of(record: Record) -> str:
    size = "" if record.get("size") == "official" else f" ({record.get('size')})"
    return _text(f"{record['dataset']} {record['victim']}{size}")


def _row(place: Ranked, base: str, runs: Mapping[str, str]) -> str:
    record = place.record
    clean = percent((record["metrics"].get("clean_accuracy") or {}).get("value"))
    cells = (
        rank_text(place),
        _link(record, base, runs, limit=80),
        _text(record["victim"]),
        _text(record["dataset"]),
        threat(record["headline"]),
        _interval(record["metrics"].get("robust_accuracy")),
        "–" if clean is None else f"{clean:.1f}",
        ", ".join(warnings(record)),
    )
    return f"| {' | '.join(cells)} |"


def _link(record: Record, base: str, runs: Mapping[str, str], *, limit: int = 34) -> str:
    name, run = _text(short(record["defense"], limit)), runs.get(str(record["id"]))
    return f"[{name}]({base}/{run}?{_MODE})" if run else name


def _text(text: str) -> str:
    """A stranger's name without what Markdown or HTML would read."""
    return " ".join("".join(" " if c in "[]<>|*`\\" else c for c in text).split())


def _interval(metric: Record | None) -> str:
    if not metric or metric.get("value") is None:
        return "–"
    return f"{100 * metric['value']:.1f} ({100 * metric['low']:.1f} – {100 * metric['high']:.1f})"


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """The first lines that fit in a number of characters."""
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def table(places: Sequence[Ranked]) -> dict[str, Any]:
    """The ranking in the form of MLflow's logged tables."""
    columns = ["rank", "defense", "victim", "dataset", "size", "robust_accuracy", "robust_low", "robust_high", "flags"]
    rows = []
    for place in places:
        record, robust = place.record, place.record["metrics"]["robust_accuracy"]
        ends = [percent(robust[end]) for end in ("value", "low", "high")]
        names = [str(record[name]) for name in columns[1:5]]
        rows.append([rank_text(place), *names, *ends, ", ".join(warnings(record))])
    return {"columns": columns, "data": rows}


def views() -> dict[str, str]:
    """The state of each saved view, in the form in which MLflow's pages keep it."""
    return {name: f"deflate;{base64.b64encode(zlib.compress(json.dumps(v).encode())).decode()}" for name, v in _views()}


def _views() -> Iterator[tuple[str, dict[str, Any]]]:
    metrics = {"robust_accuracy": 130, "robust_low": 95, "robust_high": 98, "clean_accuracy": 125, "auroc": 72}
    tags = {"flags": 172, "victim": 90, "dataset": 90, "headline": 150, "size": 80, "origin": 85, "defense": 320}
    systems = _state("system", _columns(tags={"rank": 80}) | _columns(metrics=metrics, tags=tags))
    yield "ranking", systems | {"orderByKey": "metrics.`robust_accuracy`", "orderByAsc": False}
    metrics = {"cell_robust_accuracy": 165, "cell_low": 80, "cell_high": 80}
    tags = {"defense": 280, "norm": 62, "epsilon": 75, "knowledge": 95, "victim": 90, "dataset": 90, "attack": 220}
    costs = _columns(metrics={"cell_forwards": 110, "cell_seconds": 105}, tags={})
    cells = _state("cell", _columns(metrics=metrics, tags=tags) | costs)
    yield "cells", cells | {"orderByKey": "metrics.`cell_robust_accuracy`", "orderByAsc": True}
    grouping = {"aggregateFunction": "min", "groupByKeys": [{"mode": "tag", "groupByData": "defense"}]}
    columns = _columns(metrics={"robust_accuracy": 150, "clean_accuracy": 150}, tags={"victim": 100, "dataset": 100})
    order = {"orderByKey": "metrics.`robust_accuracy`", "orderByAsc": False}
    yield "by-defense", _state("system", columns) | order | {"groupBy": grouping}


def _columns(*, tags: Mapping[str, int], metrics: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
    """Columns with their widths, as MLflow's pages name them."""
    return {f"metrics.`{k}`": v for k, v in metrics.items()} | {f"tags.`{k}`": v for k, v in tags.items()}


def _state(level: str, columns: Mapping[str, int]) -> dict[str, Any]:
    """A view of the runs of one level that are not superseded: the name is wide, the duration last."""
    fixed = {"attributes.`Run Name`": 350, "runDateAndNestInfo": 122}
    return {
        "searchFilter": f"tags.level = '{level}' AND tags.superseded = 'no'",
        "selectedColumns": list(columns),
        "columnOrder": [*fixed, *columns, "duration"],
        "columnWidths": fixed | dict(columns),
    }
