"""What submissions found: adversarial inputs that hold, kept in the run folder and tried on their system in every later run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

from torch import Tensor

from harness.grid import Found, Grid
from harness.plan import Plan
from harness.progress import say
from harness.spec import digest, label
from harness.store import Store, write_whole
from harness.types import Norm, Spec, Threat

FOLDER = "found"
_TOLD = ("dataset", "victim", "defense", "norm", "by")


def with_found(grid: Grid, home: Path) -> Grid:
    """The grid with what is kept of others; who is in the grid, or has examples in it, is not counted twice."""
    attacks = {spec for line in grid.threats for spec in (*line.attacks, *grid.attacks)}
    here = {name for spec in attacks for name in (label(spec), dict(spec.params).get("by"))}
    return replace(grid, found=tuple(found for found in kept(home) if found.by not in here))


def kept(home: Path) -> Iterator[Found]:
    """What is kept in a run folder, by name; a file that cannot be read is said and left out."""
    from safetensors import SafetensorError, safe_open

    for file in sorted((home / FOLDER).glob("*.safetensors")):
        try:
            with safe_open(str(file), framework="pt") as opened:
                told = dict(opened.metadata() or {})
        except (SafetensorError, OSError) as error:
            say(f"{file} cannot be read and is left out: {error}")
            continue
        if any(name not in told for name in _TOLD) or told["norm"] not in get_args(Norm):
            say(f"{file} does not say whose system it is for, and is left out; expected {', '.join(_TOLD)}")
            continue
        attack = Spec.of("attack", "given_examples", file=file, by=told["by"])
        yield Found(**{name: told[name] for name in _TOLD}, attack=attack)


def keep(plan: Plan, name: str, by: str, store: Store, home: Path) -> list[Path]:
    """Keep the inputs by which an attack broke the systems of a plan, its name being `name`: a file a system and norm."""
    from harness.nearest import crafted, nearest
    from harness.record import outcomes_of, system_id

    files = []
    for system, tasks in plan.observed.items():
        outcomes = outcomes_of(home / "records", system_id(plan, system))
        own = outcomes[(outcomes["attack"] == name) & (outcomes["check"] == "")]
        for norm in dict.fromkeys(own["norm"]):
            rows = nearest(own, Threat(norm, float("inf"), "adaptive"))
            broken = rows[~rows["held"]]
            inputs = crafted(broken, tasks, store.get) if len(broken) else None
            if inputs is not None:
                told = dict(zip(_TOLD, (*system.names, str(norm), by), strict=True))
                files.append(_written(inputs.changed, told, home / FOLDER))
    return files


def _written(x: Tensor, told: dict[str, str], folder: Path) -> Path:
    """A file named by who found it and by its content: what is found again is written once."""
    from safetensors.torch import save

    slug = re.sub(r"[^a-z0-9]+", "_", told["by"].lower()).strip("_")[:40]
    content = hashlib.sha256(digest(told).encode() + x.contiguous().numpy().tobytes()).hexdigest()
    file = folder / f"{slug or 'given'}-{content[:12]}.safetensors"
    if not file.is_file():
        write_whole(file, save({"x": x.contiguous()}, metadata=told))
    return file
