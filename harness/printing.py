"""What the command line prints of results: tables and verdicts on standard output, the rest on standard error."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import api
from harness.progress import say


def report(result: api.Result, arguments: argparse.Namespace) -> int:
    """A run's ranking, and what became of its tasks; gives the exit status."""
    if arguments.json:
        print(json.dumps(result.summary(), default=float))
    else:
        table(result)
    progress = result.progress
    skips(result.skips, most=2)
    say(
        f"{progress.total} tasks: {progress.reused} reused, {progress.computed} computed, {len(progress.failed)} failed, "
        f"{progress.seconds:.1f} s"
    )
    places(result, arguments)
    return 1 if progress.failed else 0


def places(result: api.Result, arguments: argparse.Namespace, system: str = "") -> None:
    """Where the results are to be looked at; system: the id of the one that is meant."""
    if result.tracking_error:
        say(
            f"MLflow: {result.tracking_error}; the run is whole without it: `harness sync` writes later what is missing"
        )
    elif result.links:
        say(f"MLflow's ranking:  {program()} ui")
    page = api.home_folder(arguments.home) / "board" / "leaderboard.html"
    if page.is_file():
        say(f"board:             {page.as_uri() + '#open=' + system if system else page}")


def program() -> str:
    """How this program is called here: by name, or by its place beside the interpreter that runs it."""
    if shutil.which("harness"):
        return "harness"
    place = Path(sys.executable).with_name("harness")
    return os.path.relpath(place) if place.is_relative_to(Path.cwd()) else str(place)


def table(result: api.Result) -> None:
    """The ranking of a run's systems."""
    from importlib import import_module

    try:
        print(import_module("leaderboard").table(result.records))
    except (ImportError, AttributeError):
        for record in result.records:
            print(record["defense"], record["metrics"].get("robust_accuracy"))


def dry(plan: Any, arguments: argparse.Namespace) -> int:
    """The tasks that a run would consist of."""
    if arguments.json:
        tasks = [{"kind": t.kind, "key": t.key, "label": t.label} for t in plan.tasks.values()]
        print(json.dumps({"tasks": tasks, "skips": plan.skips}))
        return 0
    for task in plan.tasks.values():
        print(f"{task.key[:12]} {task.label}")
    skips(plan.skips)
    return 0


def skips(reasons: Mapping[str, int], *, most: int | None = None) -> None:
    """What of a grid was not crossed, and why; of many reasons the first `most`."""
    for reason, number in list(reasons.items())[:most]:
        say(f"skipped {number} x: {reason}")
    if most is not None and len(reasons) > most:
        say(f"skipped {sum(list(reasons.values())[most:])} x for other reasons: --dry-run names them")


def left(answer: Mapping[str, Any]) -> str:
    """The time left on one core, as far as it is known."""
    seconds, unknown = round(answer["seconds_left_at_least"]), answer["kinds_without_estimate"]
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    text = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
    if not unknown:
        return f"about {text} left on one core"
    return (f"more than {text} left; " if seconds else "") + f"no estimate yet for the tasks {', '.join(unknown)}"


def effect(answer: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """What an attack or examples broke that nothing else did; gives the exit status."""
    if arguments.json:
        print(json.dumps(answer, default=float))
    elif answer["verdict"] != "scored":
        print(f"{answer['name']}: {answer['verdict']}: {answer['reason']}")
    else:
        print(f"{answer['name']}: scored; {answer['wins']} inputs that no other attack of the grid broke")
        for row in answer["systems"]:
            print(
                f"  {row['defense']}: robust accuracy {100 * row['before']:.1f} % -> {100 * row['after']:.1f} %; of "
                f"{row['tried']} inputs it was given, {row['wins']} fell to it alone"
            )
        if answer["kept"]:
            folder = os.path.relpath(Path(answer["kept"][0]).parent.parent)
            print(f"what only it broke is kept in {folder}, and tried on its system in every later run")
    return 0 if answer["verdict"] == "scored" else 1


def verdict(answer: Mapping[str, Any], claimed: Mapping[str, float]) -> None:
    """What became of a submission, in a line, and beside its author's claims."""
    if answer["verdict"] != "scored":
        print(f"{answer['name']}: {answer['verdict']}: {answer['reason']}")
        return
    flags = ", ".join(answer["flags"]) or "none"
    print(
        f"{answer['name']}: scored; rank {answer['rank']} of {answer['of']}, "
        f"robust accuracy {100 * answer['robust_accuracy']:.1f} % "
        f"({100 * answer['robust_low']:.1f}–{100 * answer['robust_high']:.1f}), "
        f"clean {100 * answer['clean_accuracy']:.1f} %, flags: {flags}"
    )
    if claimed:
        print(
            "claimed: " + ", ".join(f"{name.replace('_', ' ')} {100 * share:.1f} %" for name, share in claimed.items())
        )
    again = answer.get("confirmation")
    if again and again["robust_accuracy"]:
        robust = 100 * again["robust_accuracy"]["value"]
        print(f"confirmed on {again['inputs']} other test images: robust accuracy {robust:.1f} %")


def synchronised(answer: Mapping[str, Any]) -> str:
    """What MLflow has got."""
    return f"MLflow: {answer['error']}" if "error" in answer else f"MLflow: {answer['written']} systems written"
