"""Whether a number can be believed: cells that the flags need, and flags over outcomes and the probe.

Each flag is a value with its evidence, printed whether or not it fires; fired is None where it could not be evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.flags import checks, comparisons, rejection
from harness.flags._flag import BLACK, CONVERGED, MONOTONE, RANGE, TWINS
from harness.flags._flag import SINGLE as SINGLE_FLAG
from harness.flags._inputs import per_input
from harness.flags.probed import probed
from harness.grid import Attempt, Cell, Check, Grid, System, attempts, role
from harness.spec import build, label, parse
from harness.types import Norm, Spec, Threat

if TYPE_CHECKING:
    import pandas as pd

SINGLE, ITERATIVE = "fgsm", "pgd"


def cells(grid: Grid, system: System) -> Iterator[Cell]:
    """The cells that the flags need and the grid lacks, all at the headline.

    A single-step and an iterative attack and noise where none is listed; what weaker attacks broke alone, tried again with
    more steps; and under full scrutiny what speaks of epsilon, convergence, memorised images and noise.
    """
    threat = grid.headline
    listed = [a.attack for a in _at_headline(grid, ()) if a.knowledge == threat.knowledge]
    names = {spec.name for spec in listed}
    extra = [name for name in (SINGLE, ITERATIVE, "noise") if name not in names and _works(name, threat.norm)]
    if ITERATIVE in extra and any(spec.name != SINGLE and needs(spec) == "gradient" for spec in listed):
        extra.remove(ITERATIVE)
    added = [_attempt(name, threat) for name in extra]
    for attempt in added:
        yield Cell(system, attempt=attempt)
    if _works("apgd", threat.norm):
        yield from _confirmations(grid, system, added)
        if grid.scrutiny == "full":
            yield from _scrutiny(grid, system)


def _works(name: str, norm: str) -> bool:
    return norm in registry.constants(registry.locate("attack", name))["norms"]


def _attempt(line: object, threat: Threat, *, epsilon: float | None = None, norm: Norm | None = None) -> Attempt:
    (spec,) = parse("attack", line)
    return Attempt(spec, norm or threat.norm, (epsilon or threat.epsilon,), threat.knowledge)


def _apgd(steps: int, restarts: int = 1, weight: float = 1.0) -> dict[str, Any]:
    return {"apgd": {"loss": "margin", "steps": steps, "restarts": restarts, "weight": weight}}


def _at_headline(grid: Grid, extra: Sequence[Attempt]) -> list[Attempt]:
    listed = [a for a in attempts(grid) if isinstance(a, Attempt) and a.norm == grid.headline.norm]
    return [*listed, *extra]


def needs(attack: Spec) -> str:
    """The least that an attack must be allowed to call: that of an attack inside it, where this is given the system too."""
    own: str = registry.constants(registry.locate(attack.kind, attack.name)).get("needs") or build(attack).needs
    inner = [value for _, value in attack.params if isinstance(value, Spec) and value.kind == "attack"]
    return next((needs(spec) for spec in inner if needs(spec) != "gradient"), own) if own == "gradient" else own


def is_black_box(attempt: Attempt, system: System, threat: Threat) -> bool:
    """Whether an attack used no gradients of the system that a threat is about; an undefended one hides none."""
    blind = bool(system.defenses) and (attempt.knowledge, threat.knowledge) == ("oblivious", "adaptive")
    return blind or needs(attempt.attack) != "gradient"


def _confirmations(grid: Grid, system: System, extra: Sequence[Attempt]) -> Iterator[Cell]:
    """What a weaker attack alone broke, tried again with four times the steps: fifty to each of four likely classes."""
    threat = grid.headline
    tried = _at_headline(grid, extra)
    black = tuple(a for a in tried if is_black_box(a, system, threat))
    single = tuple(a for a in tried if a.attack.name == SINGLE and a not in black)
    iterative = tuple(a for a in tried if a not in black and a not in single)
    again = _attempt({"apgd": {"loss": "margin", "targets": 4, "steps": 50}}, threat)
    pairs = ((SINGLE_FLAG, single, iterative), (BLACK, black, (*single, *iterative)))
    for flag, only, after in pairs:
        if only:
            yield Cell(system, attempt=again, check=Check(flag, only, after, threat.epsilon, most=grid.inputs))


def _scrutiny(grid: Grid, system: System) -> Iterator[Cell]:
    """More steps for the survivors; where the attacker knows the system, what must break it; what a detector takes and lets go."""
    threat, tried = grid.headline, tuple(_at_headline(grid, ()))
    steps = _longest(grid)
    for longer in (_apgd(2 * steps), _apgd(steps, restarts=2)):
        yield Cell(system, attempt=_attempt(longer, threat), check=Check(CONVERGED, (), tried, most=200))
    rejects = any(role(spec) == "detector" for spec in system.defenses)
    if threat.knowledge == "adaptive":
        yield from _from_scratch(system, threat, tried, rejects=rejects)
    if rejects and threat.norm == "linf":
        yield Cell(system, shift=noise(threat))
    if rejects and _works("availability", threat.norm):
        yield Cell(system, attempt=_attempt("availability", threat), check=Check("availability", most=200))


def _from_scratch(system: System, threat: Threat, tried: tuple[Attempt, ...], *, rejects: bool) -> Iterator[Cell]:
    """Twice epsilon, the whole box for what always answers, and images beside the same.

    At twice epsilon a system that may reject is searched with three weights of its margin.
    """
    plain = _attempt(_apgd(50), threat)
    double = min(2 * threat.epsilon, 1.0) if threat.norm == "linf" else 2 * threat.epsilon
    whole = replace(plain, norm="linf", epsilons=(1.0,))
    for weight in (1.0, 0.2, 5.0) if rejects else (1.0,):
        wider = _attempt(_apgd(50, weight=weight), threat, epsilon=double)
        yield Cell(system, attempt=wider, check=Check(MONOTONE, tried, (), threat.epsilon, most=100))
    if not rejects:
        yield Cell(system, attempt=whole, check=Check(RANGE, most=100))
    for moved in (False, True):
        yield Cell(system, attempt=plain, check=Check(TWINS, most=200, moved=moved))


def _longest(grid: Grid) -> int:
    """The most steps of a listed search, at least 50."""
    steps = [int(dict(a.params).get("steps", 0)) for a in grid.attacks if a.name in ("pgd", "apgd")]
    return max([50, *steps])


def noise(headline: Threat) -> Spec:
    """The harmless noise that a detector is to accept: a quarter of epsilon."""
    (spec,) = parse("shift", {"uniform_noise": {"epsilon": headline.epsilon / 4}})
    return spec


def flags(outcomes: pd.DataFrame, probe: Mapping[str, Any] | None, headline: Threat) -> list[dict[str, Any]]:
    """Every flag of one system, from its outcomes and its probe (None if that failed).

    attrs of the outcomes: defended, rejects, rate, calibrated, surrogate, classes, needs (what each attack may call, by its
    label).
    """
    table = per_input(outcomes)
    found = [
        comparisons.single_step(table, headline),
        comparisons.black_box(table, headline),
        checks.not_monotone(table, headline),
        checks.survives_full_range(table),
        checks.not_converged(table, headline),
        *probed(probe, surrogate=bool(outcomes.attrs.get("surrogate", False))),
        checks.inconsistent_loss(table, headline),
        checks.twins(table, headline),
        rejection.threshold_off(outcomes),
        rejection.rejects_noise(table, label(noise(headline))),
    ]
    return [asdict(flag) for flag in found]
