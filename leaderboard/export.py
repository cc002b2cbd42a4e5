"""Boards as CSV and JSON, for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard import similarity
from leaderboard.attacks import Selftest, lines
from leaderboard.rows import Board, Row

_METRICS = ("robust_accuracy", "clean_accuracy", "auroc", "strict_accuracy", "noise_acceptance", "availability")
_COSTS = ("seconds", "forwards", "parameters")
_LEFT_OUT = frozenset({"per_input", "gallery"})  # at any depth


def csv_text(boards: Sequence[Board]) -> str:
    """A line a system, shares as fractions; a text that a spreadsheet would compute gets an apostrophe before it."""
    return _csv([columns_of(board, row) for board in boards for row in board.rows], "rank")


def attack_csv(boards: Sequence[Board], selftests: Mapping[str, Selftest]) -> str:
    """A line for each attack and threat of a board, shares as fractions."""
    return _csv(_attacks(boards, selftests), "attack")


def attack_json(boards: Sequence[Board], selftests: Mapping[str, Selftest]) -> str:
    """The same as a list of objects."""
    return json.dumps([finite(line) for line in _attacks(boards, selftests)], indent=1, allow_nan=False) + "\n"


def _attacks(boards: Sequence[Board], selftests: Mapping[str, Selftest]) -> list[dict[str, Any]]:
    found = []
    for board in boards:
        setting = {"suite": board.suite, "size": board.size, "dataset": board.dataset, "victim": board.victim}
        for line in lines(board, selftests):
            threat, test = line.threat, line.selftest
            axes = {
                "attack": line.attack,
                "norm": threat.norm,
                "epsilon": threat.epsilon,
                "knowledge": threat.knowledge,
            }
            counts = {name: line.total(name) for name in ("right", "broken", "missed", "wins")}
            shares = {"success": line.success, "missed_share": line.missed, "missed_at_most": line.worst}
            costs = {name: line.middle(name) for name in ("median_distance", "forwards", "backwards", "seconds")}
            known = (test.share, test.inverted) if test else (None, None)
            scores = {n: v.value if v else None for n, v in zip(("binarisation", "inverted"), known, strict=True)}
            found.append(setting | axes | {"systems": len(line.cells)} | counts | shares | costs | scores)
    return found


def _csv(lines: Sequence[Mapping[str, Any]], first: str) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, names or [first], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def columns_of(board: Board, row: Row) -> dict[str, Any]:
    """A system's line of the CSV file, by column."""
    line: dict[str, Any] = {
        "suite": board.suite,
        "size": board.size,
        "seed": board.seed,
        "dataset": board.dataset,
        "victim": board.victim,
        "norm": board.headline.norm,
        "epsilon": board.headline.epsilon,
        "knowledge": board.headline.knowledge,
        "rank": row.rank,
        "tied": row.tied,
        "defense": row.name,
        "authors": row.author,
        "isolation": row.isolation,
        "origin": row.origin,
        **{f"claimed_{name}": row.claims.get(name) for name in ("clean_accuracy", "robust_accuracy")},
        "roles": " ".join(row.roles),
        "track": row.track,
    }
    for name in _METRICS:
        found = row.metric(name)
        line[name], line[f"{name}_low"], line[f"{name}_high"] = (
            (found.value, found.low, found.high) if found else (None, None, None)
        )
    for threat, value in row.threats.items():
        line[f"robust_{threat.norm}_{threat.epsilon:g}_{threat.knowledge}"] = value.value
    costs = {name: row.cost(name) for name in _COSTS}
    flags = " ".join(flag.name for flag in row.fired if flag.warning)
    return (
        line | similarity.columns(row) | costs | {"flags": flags, "failed": len(row.failed), "id": row.record.get("id")}
    )


def _harmless(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def json_text(boards: Sequence[Board]) -> str:
    """A list of boards, each with its ranked records; per-input outcomes and pictures stay in the records."""
    return json.dumps([_board(board) for board in boards], indent=1, allow_nan=False) + "\n"


def _board(board: Board) -> dict[str, Any]:
    head = board.headline
    systems = [{"rank": row.rank, "tied": row.tied, "flagged": row.flagged} | finite(row.record) for row in board.rows]
    return {
        "suite": board.suite,
        "size": board.size,
        "seed": board.seed,
        "dataset": board.dataset,
        "victim": board.victim,
        "headline": {"norm": head.norm, "epsilon": head.epsilon, "knowledge": head.knowledge},
        "systems": systems,
    }


def finite(value: Any) -> Any:
    """JSON without what happened to each input, without NaN and infinities: they become null."""
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items() if name not in _LEFT_OUT}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
