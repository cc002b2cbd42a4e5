"""Score a defense: the contract first, then the official grid with it beside the undefended victim, then its rank.

The code of a file runs in processes of its own (harness.isolation); every submission ends with one verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import api, check, registry
from harness.data import test_size
from harness.digests import beside
from harness.flags._flag import TWINS
from harness.grid import Grid, role
from harness.isolation.errors import ENDINGS
from harness.isolation.policy import Isolation, Limits
from harness.plan import foreign
from harness.progress import say
from harness.rank import group, ranked
from harness.spec import label, parse
from harness.submission import CARD, card_of, digest_of, environment, given_files, named
from harness.types import Spec

CONFIRMED = 3  # the first ranks, scored again on other images
VERDICTS = ("scored", "rejected", "failed", "timed out", "over memory")
DISHONEST = ("batch-dependent", "random", TWINS)  # flags that are a verdict where they are warnings


def submit(
    defense: str,
    *,
    grid: str = "official",
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    home: str | Path | None = None,
    trusted: bool = False,
    require_isolation: bool = False,
    limits: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], api.Result | None]:
    """Verdict (one of VERDICTS) with its reason, rank and figures; and the run behind it, if there was one.

    trusted: the code of a file runs in this process. require_isolation: only under bubblewrap. limits: changes of
    `Limits`. Raises FileNotFoundError or ValueError if the file, the class or the grid cannot be read, RuntimeError where the
    isolation that is required cannot be had.
    """
    beside = ["none", "adversarial_training"] if size in (None, "official") else ["none"]
    rules = Rules(trusted, require_isolation, dict(limits or {}))

    def reads(defenses: list[Any]) -> Grid:
        return api.read_grid(grid, size=size, changes={"defenses": defenses, **dict(changes or {})})

    try:
        entry = admitted("defense", defense, rules, api.home_folder(home), lambda: reads(list(beside)))
    except Refused as refused:
        return _verdict(refused.name, refused.verdict, str(refused), refused.isolation), None
    name, isolation = label(entry.spec), entry.isolation
    read = replace(reads([*beside, entry.text]), isolation=isolation)
    if read.note:
        say(f"note: {read.note}")
    result = api.run(read, home=home, **options)
    record = next((r for r in result.records if r["defense"] == name), None)
    if record is None or not record["complete"]:
        reason = record["failed"][0]["error"] if record and record["failed"] else "no record was made"
        return _verdict(name, *_ended(reason), isolation), result
    dishonest = next((f for f in record["flags"] if _dishonest(f)), None)
    if dishonest is not None:
        reason = f"dishonesty: {dishonest['name']}: {dishonest['text']}"
        return _verdict(name, "rejected", reason, isolation), result
    verdict = _scored(name, record, read)
    more = min(test_size(dataset) for dataset in read.datasets) > read.first + read.inputs
    if read.size == "official" and verdict["rank"] <= CONFIRMED and more:
        verdict["confirmation"] = _confirmed(name, read, home, options)
    return verdict, result


@dataclass(frozen=True)
class Rules:
    """How far a stranger's code is trusted: run here; refused where bubblewrap does not work; changes of `Limits`."""

    trusted: bool = False
    require_isolation: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A part that may be scored: as a grid's line has it, as a Spec, and where it runs."""

    text: str
    spec: Spec
    isolation: Isolation | None


class Refused(Exception):
    """A part that is not scored: the verdict, with its reason as message."""

    def __init__(self, name: str, verdict: str, reason: str, isolation: Isolation | None = None) -> None:
        super().__init__(reason)
        self.name, self.verdict, self.isolation = name, verdict, isolation


def admitted(kind: str, text: str, rules: Rules, home: Path, reads: Callable[[], Grid]) -> Entry:
    """A part that can be read and keeps the contract; raises Refused for one that does not.

    reads: reads the grid without the part, as the user's mistakes are said before anything takes long.
    """
    Limits().changed(rules.limits)
    name = Path(text.partition(".py:")[0]).name
    try:
        text = named(text)
        (spec,) = parse(kind, text)
        if kind == "defense":
            role(spec)
        for source in _files(spec):
            beside(source.path)  # raises where the folder holds too much
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        if ".py" not in text and not Path(text).expanduser().is_dir():
            raise
        marked = isinstance(error, UnicodeDecodeError) or "U+FEFF" in str(error)
        coded = "its file is not UTF-8 without a byte order mark, save it as that: " if marked else ""
        raise Refused(name, "failed", coded + str(error)) from None
    reads()
    if rules.trusted:
        trust(spec)
    try:
        isolation = None if rules.trusted else isolated(spec, rules.limits, home, require=rules.require_isolation)
    except (ValueError, PermissionError) as error:
        raise Refused(name, "failed" if isinstance(error, ValueError) else "rejected", str(error)) from None
    broken = next((f for f in check.check(text, kind=kind, isolation=isolation) if not f.passed), None)
    if broken is not None:
        raise Refused(label(spec), broken.verdict, reason_of(broken), isolation)
    return Entry(text, spec, isolation)


def isolated(spec: Spec, limits: Mapping[str, Any], home: Path, *, require: bool = False) -> Isolation | None:
    """Where a part of another author is to run; None for a part that is installed.

    Its files are closed to this process from now on. Raises RuntimeError where bubblewrap is required and does not work,
    ValueError for a card or requirements that cannot be read, PermissionError for parameters that name files of others.
    """
    from harness.isolation import places

    own = Limits().changed(limits)
    if not foreign(spec):
        return None
    if sys.platform != "linux":
        raise RuntimeError("the code of a stranger can be isolated on Linux only; --trusted runs it in this process")
    mode = places.best()
    if require and mode != "bubblewrap":
        raise RuntimeError(
            "isolation is required, but bubblewrap does not work here; install it (apt-get install bubblewrap), "
            "or leave --require-isolation out"
        )
    files = _files(spec)
    for source in files:
        registry.close(source)
    folders = list(dict.fromkeys(source.path.parent for source in files))
    given = given_files([v for s in _inside(spec) for _, v in s.params if isinstance(v, Path)], folders)
    cards = [card_of(folder) for folder in folders]
    readable = [str(s.path.parent if (s.path.parent / CARD).is_file() else s.path) for s in files]
    wanted = sorted({line for card in cards for line in card.requirements})
    packages = environment(wanted, home)
    own_files = tuple(dict.fromkeys([*readable, *given]))
    return Isolation(mode, own, packages, digest_of(wanted), own_files)


def trust(spec: Spec) -> None:
    """Let this process run the files of a part. Raises ValueError if they ask for an environment of their own."""
    for source in _files(spec):
        if card_of(source.path.parent).requirements:
            raise ValueError(f"{source.path.parent} has requirements: install them here, and take them out of {CARD}")
        registry.close(source, closed=False)


def reason_of(broken: check.Finding) -> str:
    """Why a contract test failed, with the test where it says something."""
    return broken.message if broken.test == "isolation" else f"{broken.test}: {broken.message}"


def _files(spec: Spec) -> list[registry.Source]:
    """Where the parts in files of their own are, of a part and of those that it is given."""
    sources = [registry.locate(s.kind, s.name) for s in _inside(spec)]
    return [source for source in sources if source.module is None]


def _inside(spec: Spec) -> list[Spec]:
    """A part and the parts that it is given."""
    values = [v for _, value in spec.params for v in (value if isinstance(value, tuple) else (value,))]
    return [spec, *(s for v in values if isinstance(v, Spec) and v.name != "self" for s in _inside(v))]


def _ended(error: str) -> tuple[str, str]:
    """The verdict that the error of a task stands for, and its reason."""
    kind, _, message = error.removeprefix("needs a task that failed: ").partition(": ")
    if kind in ENDINGS:
        return ENDINGS[kind], message
    if kind == "ContractError":
        return "rejected", f"contract: {message}"
    return "failed", message if kind == "SubmissionError" else error


def _dishonest(flag: Mapping[str, Any]) -> bool:
    """Whether a flag says that the answers are not those of one fixed function of the input."""
    return bool(flag["fired"]) and flag["severity"] == "warning" and flag["name"] in DISHONEST


def _confirmed(name: str, read: Grid, home: str | Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same on as many other test images, as a suite of its own: what was tuned on the public ones does not help there."""
    other = replace(read, suite=f"{read.suite}-confirmation", first=read.first + read.inputs)
    result = api.run(other, home=home, **options)
    record = next((r for r in result.records if r["defense"] == name), None)
    robust = (record or {"metrics": {}})["metrics"].get("robust_accuracy")
    return {"suite": other.suite, "first": other.first, "inputs": other.inputs, "robust_accuracy": robust}


def _verdict(name: str, verdict: str, reason: str, isolation: Isolation | None) -> dict[str, Any]:
    empty = dict.fromkeys(("rank", "of", "clean_accuracy", "robust_accuracy"))
    told: dict[str, Any] = {"name": name, "verdict": verdict, "reason": reason, **empty, "flags": [], "run_id": None}
    return told | {"isolation": isolation.mode if isolation else "none"}


def _scored(name: str, record: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
    """The figures with the rank among all records of the same group, those of the run folder and the references."""
    from harness.records import records_of
    from harness.references import with_references
    from harness.track import run_id
    from harness.tracked import identity

    home = api.home_folder()
    rivals = [r for r in with_references(records_of(home)) if identity(r) != identity(record)]
    peers = [record, *(r for r in rivals if group(r) == group(record) and r["complete"])]
    place = next(p for p in ranked(peers) if p.record["id"] == record["id"])
    metrics = record["metrics"]
    return {
        "name": name,
        "verdict": "scored",
        "reason": grid.note,
        "rank": place.rank,
        "of": len(peers),
        "clean_accuracy": metrics["clean_accuracy"]["value"],
        "robust_accuracy": metrics["robust_accuracy"]["value"],
        "robust_low": metrics["robust_accuracy"]["low"],
        "robust_high": metrics["robust_accuracy"]["high"],
        "flags": [flag["name"] for flag in record["flags"] if flag["fired"]],
        "run_id": run_id(home, record),
        "isolation": grid.isolation.mode if grid.isolation else "none",
    }
