"""The test of an attack: does it find neighbours that are known to exist, and does it break what is known to be broken?"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness import api, execute, schedule
from harness import grid as grids
from harness.binarisation import NORMS, binarise
from harness.data import Data, key_of, some_rows
from harness.evidence import evidence
from harness.loading import Loader
from harness.neighbours import detecting, sought
from harness.plan import Fitted, Plan, fitted
from harness.rank import robustness, wilson
from harness.spec import label, number, parse, with_victim
from harness.store import Store
from harness.types import Spec, Threat

BROKEN = ("quantised_input", "saturated_softmax", "shattered_gradients", "shuffled_gradients", "random_resizing")
PARTS = ("binarisation", "inverted", "broken")
EPSILONS = {"linf": 0.15, "l2": 1.0}
REFERENCE = {"apgd": {"loss": "margin"}}  # what the undefended network is held against besides the attack itself
FURTHER = 2.0  # times epsilon for known-broken defenses: where a network without one falls
WITHIN = 0.02  # robust accuracy of a known-broken defense above the undefended network's


def selftest(
    attack: str | Mapping[str, Any],
    *,
    dataset: str = "digits",
    victim: str | Mapping[str, Any] = "cnn",
    norm: str | None = None,
    epsilon: float | str | None = None,
    inputs: int = 100,
    parts: Sequence[str] = PARTS,
    home: str | Path | None = None,
    device: str = "cpu",
    executor: str = "serial",
) -> dict[str, Any]:
    """Score an attack; the answer is kept in the run folder's `selftests` where all parts of the test were made.

    attack, victim: as on a grid's line, also as YAML text. norm, epsilon: for one norm only, or another epsilon than
    EPSILONS. Raises ValueError or FileNotFoundError for what cannot be read or tested.
    """
    (spec,) = parse("attack", _line(attack))
    threats = _threats(spec, norm, epsilon)
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ValueError(f"the parts of the test are {', '.join(PARTS)}, not '{', '.join(unknown)}'")
    folder = api.home_folder(home)
    further = replace(threats[0], epsilon=_further(threats[0]))
    stage = _Stage.of(spec, dataset, _line(victim), further, inputs=inputs, broken="broken" in parts)
    stage.run(Store(folder / "store"), device, executor)
    rows = [row for threat in threats for part in parts if part != "broken" for row in [stage.sought(part, threat)]]
    answer: dict[str, Any] = {
        "attack": label(spec),
        "dataset": label(stage.row.dataset),
        "victim": label(stage.row.victim),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "neighbours": rows,
        "broken": stage.broken(further) if "broken" in parts else [],
    }
    answer |= {part: _share(row for row in rows if row["part"] == part) for part in PARTS[:2]}
    answer["passed"] = all(row["passed"] for row in (*rows, *answer["broken"]))
    if set(parts) == set(PARTS):
        _keep(answer, folder / "selftests")
        if (folder / "records").is_dir():
            api.board(folder)
    return answer


def _line(text: Any) -> Any:
    """A grid's line, from YAML text or as it is; a path is no YAML."""
    if not isinstance(text, str) or ":" not in text or re.search(r"\.py:\w+$", text.strip()):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"'{text}' is not YAML: {' '.join(str(error).split())}") from None


def _threats(spec: Spec, norm: str | None, epsilon: float | str | None) -> list[Threat]:
    """Norm and epsilon of each test."""
    named = label(spec)
    known = [name for name in grids.norms_of(spec) if name in NORMS]
    if not known:
        raise ValueError(f"{named} works in {', '.join(grids.norms_of(spec))}; its test is in {' or '.join(NORMS)}")
    if norm is not None and norm not in known:
        raise ValueError(f"{named} is tested in {' or '.join(known)}, not in '{norm}'")
    if epsilon is not None and norm is None and len(known) > 1:
        raise ValueError(f"epsilon is given for one norm; say which of {', '.join(known)}")
    value = None if epsilon is None else number(epsilon)
    if epsilon is not None and (value is None or not 0 < value < math.inf):
        raise ValueError(f"epsilon is a number above 0 (or a fraction such as 8/255), not {epsilon!r}")
    return [Threat(n, value or EPSILONS[n], "adaptive") for n in ([norm] if norm else known)]  # type: ignore[arg-type]


def _further(threat: Threat) -> float:
    epsilon = FURTHER * threat.epsilon
    return min(epsilon, 1.0) if threat.norm == "linf" and threat.epsilon <= 1 else epsilon


def _share(rows: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """The share found over several tests, with its interval."""
    counts = [(row["found"], row["inputs"]) for row in rows]
    number = sum(n for _, n in counts)
    return asdict(wilson(sum(f for f, _ in counts), number)) if number else None


def _keep(answer: Mapping[str, Any], folder: Path) -> None:
    """Write the answer by rename, under the attack's label."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.=,() +-]+", "_", answer["attack"])
    temporary = folder / f".{name}.{os.getpid()}"
    temporary.write_text(json.dumps(answer), encoding="utf-8")
    temporary.replace(folder / f"{name}.json")


@dataclass
class _Stage:
    """The attack before networks: what is planned, and what the tests read once it is done."""

    grid: grids.Grid
    plan: Plan
    attack: Fitted
    row: grids.System
    loader: Loader

    @classmethod
    def of(cls, attack: Spec, dataset: Any, victim: Any, threat: Threat, *, inputs: int, broken: bool) -> _Stage:
        """Plan the fits and, for the known-broken defenses, all that a run would do."""
        lines = {
            "name": "selftest",
            "datasets": [_line(dataset)],
            "victims": [victim],
            "defenses": ["none", *BROKEN] if broken else ["none"],
            "attacks": [attack, REFERENCE],
            "threats": [{"norm": threat.norm, "epsilons": [threat.epsilon], "knowledge": [threat.knowledge]}],
            "inputs": inputs,
        }
        grid = api.read_grid(lines)
        cells = list(grids.cells(grid))
        refused = [cell.reason for cell in cells if not isinstance(cell, grids.Cell)]
        if refused:
            raise ValueError(f"{label(attack)} cannot be tested: {refused[0]}")
        wanted = [cell for cell in cells if isinstance(cell, grids.Cell) and _needed(cell, attack, broken=broken)]
        made = schedule.tasks(grid, wanted)
        row = next(iter(made.pipelines))
        part = fitted(made, with_victim(attack, row.victim), row.dataset)
        return cls(grid, made, part, row, Loader(Store(Path())))

    def run(self, store: Store, device: str, executor: str) -> None:
        """Do what is planned; raises RuntimeError with the error of a task that failed before any attack."""
        self.loader = Loader(store, device)
        done = execute.run(list(self.plan.tasks.values()), store, device=device, executor=executor, title="selftest")
        fits = {task.key for task in self.plan.tasks.values() if task.kind in ("fit", "calibrate", "probe")}
        for key, error in done.failed.items():
            if key in fits:
                raise RuntimeError(error)

    def sought(self, part: str, threat: Threat) -> dict[str, Any]:
        """What the attack finds of neighbours known to exist."""
        data = Data(self.row.dataset, key_of(self.row.dataset), self.loader.device)
        system = self.loader.system(self.plan.pipelines[self.row], rate=self.grid.rate)
        inverted = part == "inverted"
        if inverted:
            system = detecting(system, data.split("calibrate"), rate=self.grid.rate)
        chosen = some_rows(data.split("test"), (0, self.grid.inputs))
        case = binarise(system, chosen, norm=threat.norm, epsilon=threat.epsilon, inverted=inverted)
        return {"part": part, **sought(self.loader.attack(self.attack), case, threat)}

    def broken(self, threat: Threat) -> list[dict[str, Any]]:
        """Robust accuracy of each known-broken defense under the attack, beside that of the undefended network."""
        rows: list[dict[str, Any]] = []
        for system in self.plan.pipelines:
            found = evidence(self.plan, system, self.loader.store, lambda task: self.loader.store.get(task.key))
            if found.missing:
                failure = self.loader.store.failure(found.missing[0].key) or {}
                rows.append({"defense": system.defense, "error": str(failure.get("error", "not computed"))})
                continue
            alone = robustness(found.outcomes, threat, attack=label(self.attack.spec)).interval
            rows.append({"defense": system.defense, "error": None, "robust_accuracy": asdict(alone)})
            if system == self.row:
                rows[-1]["reference"] = robustness(found.outcomes, threat).interval.value
        undefended: Any = rows[0].get("reference")
        for row in rows:
            row |= {"norm": threat.norm, "epsilon": threat.epsilon, "undefended": undefended}
            known = undefended is not None and row["error"] is None
            row["passed"] = bool(known and row["robust_accuracy"]["value"] - undefended <= WITHIN + 1e-9)
        return rows


def _needed(cell: grids.Cell, attack: Spec, *, broken: bool) -> bool:
    """Every system is seen clean and attacked; the reference attacks only the undefended one."""
    if cell.attempt is None:
        return True
    return broken and (not cell.system.defenses or cell.attempt.attack == attack)


def text(answer: Mapping[str, Any]) -> str:
    """The answer as tables for people."""
    title = f"{answer['attack']} on {answer['dataset']}, {answer['victim']}"
    tables = [*_neighbours(answer["neighbours"]), *_known_broken(answer["broken"])]
    return "\n".join([title, *tables, "", "passed" if answer["passed"] else "failed"])


def _neighbours(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"{'neighbours known to exist':28}{'found':>14}{'95 %':>15}{'random':>9}{'forwards':>10}{'seconds':>9}"
    for row in rows:
        found, interval, random = f"{row['found']} of {row['inputs']}", "-", "-"
        if row["inputs"]:
            interval = f"{100 * row['share']['low']:.1f}-{100 * row['share']['high']:.1f}"
            random = f"{100 * row['random']['value']:.1f} %"
        cost = f"{row['forwards']:>10.0f}{row['seconds']:>9.1f}"
        what = f"{row['part']}, {row['norm']} {row['epsilon']:g}"
        yield f"{what:28}{found:>14}{interval:>15}{random:>9}{cost}  {_verdict(row)}"


def _known_broken(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"{'known to be broken, ' + rows[0]['norm'] + ' ' + format(rows[0]['epsilon'], 'g'):34}{'robust':>8}"
    for row in rows:
        value = "-" if row["error"] is not None else f"{100 * row['robust_accuracy']['value']:.1f} %"
        yield f"{row['defense']:34}{value:>8}  {_verdict(row)}"
    if rows and rows[0]["undefended"] is not None:
        yield f"{'undefended, by the attack or apgd':34}{100 * rows[0]['undefended']:>6.1f} %"


def _verdict(row: Mapping[str, Any]) -> str:
    if row["error"] is not None:
        return f"failed: {row['error']}"
    if row.get("informative", True):
        return "passed" if row["passed"] else "failed"
    return "says nothing: random points find too many" if row["inputs"] else "says nothing: no neighbour is guaranteed"
