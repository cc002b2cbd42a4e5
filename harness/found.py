"""What submissions found: adversarial inputs that hold, kept in the run folder and tried on their system in every later run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from harness import registry
from harness.contributions import only_by
from harness.data import Data, key_of
from harness.digests import beside, code_digest, digest
from harness.grid import Found, Grid
from harness.plan import Plan
from harness.progress import say
from harness.spec import build, label, plain
from harness.store import Store, write_whole
from harness.types import Norm, Spec, Threat

FOLDER = "found"
LONGEST = 200  # letters of a name
_SYSTEM = ("dataset", "victim", "defense", "norm")
_TOLD = (*_SYSTEM, "by")
_CODED = "code"  # the digest of the attack or the examples, in files since they were told apart by it


def with_found(grid: Grid, home: Path) -> Grid:
    """The grid with what is kept of others; the very attack or examples that are in it are not counted twice.

    They are told by their code and content: another author's file of the same name, or an older one of the same author's,
    is another attack.
    """
    here = {_code(spec) for line in grid.threats for spec in (*line.attacks, *grid.attacks)}
    others = (found for found, code in _kept(home) if code not in here)
    return replace(grid, found=tuple(found for found in others if _fits(found, grid)))


def kept(home: Path) -> Iterator[Found]:
    """What is kept in a run folder, by name; a file that cannot be read is said and left out."""
    yield from (found for found, _ in _kept(home))


def _kept(home: Path) -> Iterator[tuple[Found, str]]:
    """What is kept, with the code that found it."""
    from safetensors import SafetensorError, safe_open

    for file in sorted((home / FOLDER).rglob("*.safetensors")):
        try:
            with safe_open(str(file), framework="pt") as opened:
                told = dict(opened.metadata() or {})
        except (SafetensorError, OSError) as error:
            say(f"{file} cannot be read and is left out: {error}")
            continue
        if any(name not in told for name in _TOLD) or told["norm"] not in get_args(Norm) or not nameable(told["by"]):
            say(f"{file} does not say whose system it is for, and is left out; expected {', '.join(_TOLD)}")
            continue
        attack = Spec.of("attack", "given_examples", file=file.resolve(), by=told["by"])
        yield Found(**{name: told[name] for name in _TOLD}, attack=attack), told.get(_CODED, "")


def _code(attack: Spec) -> str:
    """What tells an attack or examples from all others: name, parameters, code, content of files."""
    path = registry.locate(attack.kind, attack.name).path
    files = [plain(value) for _, value in attack.params if isinstance(value, Path)]
    return digest([label(attack), code_digest(path), beside(path), files])


def nameable(text: str) -> bool:
    """Whether a text may stand for who found something: one line that can be printed."""
    return len(text) <= LONGEST and (text.isprintable() or not text)


def _fits(found: Found, grid: Grid) -> bool:
    """Whether what was found can be tried in a grid; what cannot be is said, so that no run fails for it."""
    if found.norm not in _norms():
        return False
    datasets = [dataset for dataset in grid.datasets if label(dataset) == found.dataset]
    try:
        for dataset in datasets:
            build(found.attack).examples(tuple(Data(dataset, key_of(dataset), "cpu").split("test").x.shape[1:]))
    except ValueError as error:
        say(f"{error}; it is left out")
        return False
    return bool(datasets)


def _norms() -> tuple[str, ...]:
    return tuple(registry.constants(registry.locate("attack", "given_examples"))["norms"])


def keep(plan: Plan, attack: Spec, store: Store, home: Path) -> list[Path]:
    """Keep the inputs by which an attack broke what nobody else broke of the systems of a plan: a file a system and norm.

    Patches are not kept: examples are tried in the norms of `given_examples`. Where the folder cannot be written that is said.
    """
    from harness.nearest import crafted, nearest
    from harness.record import system_id
    from harness.records import outcomes_of

    name, files = label(attack), list[Path]()
    by, code = str(dict(attack.params).get("by", name)), _code(attack)
    for system, tasks in plan.observed.items():
        outcomes = outcomes_of(home / "records", system_id(plan, system))
        own = outcomes[(outcomes["attack"] == name) & (outcomes["check"] == "") & outcomes["norm"].isin(_norms())]
        for norm, won in only_by(outcomes, name).items():
            rows = nearest(own, Threat(norm, float("inf"), "adaptive"))
            broken = rows[~rows["held"] & rows["index"].isin(won)]
            inputs = crafted(broken, tasks, store.get) if len(broken) else None
            if inputs is None:
                continue
            told = dict(zip(_TOLD, (*system.names, str(norm), by[:LONGEST]), strict=True)) | {_CODED: code}
            try:
                files.append(_written(inputs.changed, told, home / FOLDER))
            except OSError as error:
                say(f"what {name} found cannot be kept: {error}; the figures stand, later runs do not know of it")
    return files


def _written(x: Tensor, told: dict[str, str], folder: Path) -> Path:
    """A folder a system, in it a file for whoever found something, of one name for all systems; what is new is added."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

    slug = re.sub(r"[^a-z0-9]+", "_", told["by"].lower()).strip("_")[:40]
    whose = digest({name: told[name] for name in _SYSTEM})
    file = folder / whose[:12] / f"{slug or 'given'}-{told[_CODED][:8]}.safetensors"
    try:
        before = load_file(file)["x"] if file.is_file() else x[:0]
    except (SafetensorError, KeyError):
        before = x[:0]
    before = before if before.shape[1:] == x.shape[1:] else x[:0]
    together = torch.unique(torch.cat([before, x]), dim=0)
    if len(together) > len(before):
        write_whole(file, save({"x": together}, metadata=told))
    return file
