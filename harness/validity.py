"""Whether a number can be believed: cells that the flags need, and flags over outcomes and the probe.

Each flag is a value with its evidence, printed whether or not it fires; fired is None where it could not be evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.grid import Attempt, Cell, Check, Grid, System, attempts, role
from harness.rank import counted, failures, one_sided, wilson
from harness.spec import parse
from harness.types import Norm, Threat

if TYPE_CHECKING:
    import pandas as pd

SINGLE, ITERATIVE = "fgsm", "pgd"
GRADIENT = (
    "fgsm",
    "pgd",
    "apgd",
    "fab",
    "autoattack",
    "carlini_wagner",
    "adaptive",
    "patch_pgd",
    "patch_nag",
    "foolbox",
    "escalate",
)
SINGLE_FLAG, BLACK_FLAG = "single-step-beats-iterative", "black-box-beats-white-box"
MONOTONE_FLAG, RANGE_FLAG = "not-monotone-in-epsilon", "survives-full-range"
CONVERGED_FLAG, TWINS_FLAG, NOISE_FLAG = "not-converged", "twins", "rejects-noise"


@dataclass(frozen=True)
class Flag:
    """A rule with what it found. severity: "warning" speaks against the number, "info" only describes the system."""

    name: str
    fired: bool | None
    text: str
    value: float | None
    evidence: Mapping[str, Any]
    severity: str = "warning"


def cells(grid: Grid, system: System) -> Iterator[Cell]:
    """The cells that the flags need and the grid lacks, all at the headline.

    A single-step and an iterative attack and noise where none is listed; what weaker attacks broke alone, tried again with
    more steps; and under full scrutiny what speaks of epsilon, convergence, memorised images and noise.
    """
    listed = {spec.name for spec in grid.attacks}
    threat = grid.headline
    extra = [name for name in (SINGLE, ITERATIVE, "noise") if name not in listed and _works(name, threat.norm)]
    if ITERATIVE in extra and listed & set(GRADIENT) - {SINGLE}:
        extra.remove(ITERATIVE)
    for name in extra:
        yield Cell(system, attempt=_attempt(name, threat))
    if _works("apgd", threat.norm):
        yield from _confirmations(grid, system, [_attempt(name, threat) for name in extra])
        if grid.scrutiny == "full":
            yield from _scrutiny(grid, system)


def _works(name: str, norm: str) -> bool:
    return norm in registry.constants(registry.locate("attack", name))["norms"]


def _attempt(line: object, threat: Threat, *, epsilon: float | None = None, norm: Norm | None = None) -> Attempt:
    (spec,) = parse("attack", line)
    return Attempt(spec, norm or threat.norm, (epsilon or threat.epsilon,), threat.knowledge)


def _apgd(steps: int, restarts: int = 1) -> dict[str, Any]:
    return {"apgd": {"loss": "margin", "steps": steps, "restarts": restarts}}


def _at_headline(grid: Grid, extra: Sequence[Attempt]) -> list[Attempt]:
    listed = [a for a in attempts(grid) if isinstance(a, Attempt) and a.norm == grid.headline.norm]
    return [*listed, *extra]


def is_black_box(attack: str, knowledge: str, threat: Threat) -> bool:
    """Whether an attack used no gradients of the system that a threat is about."""
    return attack.split("/")[0] not in GRADIENT or (knowledge == "oblivious" and threat.knowledge == "adaptive")


def _confirmations(grid: Grid, system: System, extra: Sequence[Attempt]) -> Iterator[Cell]:
    """What a weaker attack alone broke, tried again with four times the steps."""
    threat = grid.headline
    tried = _at_headline(grid, extra)
    black = tuple(a for a in tried if is_black_box(a.attack.name, a.knowledge, threat))
    single = tuple(a for a in tried if a.attack.name == SINGLE and a not in black)
    iterative = tuple(a for a in tried if a not in black and a not in single)
    again = _attempt(_apgd(200), threat)
    pairs = ((SINGLE_FLAG, single, iterative), (BLACK_FLAG, black, (*single, *iterative)))
    for flag, only, after in pairs:
        if only:
            yield Cell(system, attempt=again, check=Check(flag, only, after, threat.epsilon, most=grid.inputs))


def _scrutiny(grid: Grid, system: System) -> Iterator[Cell]:
    threat = grid.headline
    tried = tuple(_at_headline(grid, ()))
    plain = _attempt(_apgd(50), threat)
    double = min(2 * threat.epsilon, 1.0) if threat.norm == "linf" else 2 * threat.epsilon
    wider = replace(plain, epsilons=(double,))
    yield Cell(system, attempt=wider, check=Check(MONOTONE_FLAG, tried, (), threat.epsilon, most=100))
    rejects = any(role(spec) == "detector" for spec in system.defenses)
    if not rejects:
        yield Cell(system, attempt=replace(plain, norm="linf", epsilons=(1.0,)), check=Check(RANGE_FLAG, most=100))
    steps = _longest(grid)
    for longer in (_apgd(2 * steps), _apgd(steps, restarts=2)):
        yield Cell(system, attempt=_attempt(longer, threat), check=Check(CONVERGED_FLAG, (), tried, most=200))
    yield Cell(system, attempt=plain, check=Check(TWINS_FLAG, most=200))
    yield Cell(system, attempt=plain, check=Check(TWINS_FLAG, most=200, moved=True))
    if rejects and threat.norm == "linf":
        (noise,) = parse("shift", {"uniform_noise": {"epsilon": threat.epsilon / 4}})
        yield Cell(system, shift=noise)
    if rejects and _works("availability", threat.norm):
        yield Cell(system, attempt=_attempt("availability", threat), check=Check("availability", most=200))


def _longest(grid: Grid) -> int:
    """The most steps of a listed search, at least 50."""
    steps = [int(dict(a.params).get("steps", 0)) for a in grid.attacks if a.name in ("pgd", "apgd")]
    return max([50, *steps])


def flags(outcomes: pd.DataFrame, probe: Mapping[str, Any] | None, headline: Threat) -> list[dict[str, Any]]:
    """Every flag of one system, from the table of its outcomes (attrs: rejects, random, calibrated, rate) and its probe."""
    found = [
        _single_step(outcomes, headline),
        _black_box(outcomes, headline),
        _zero_gradient(probe),
        _mismatch(probe, outcomes.attrs.get("surrogate", False)),
        _random(probe),
        _batch(probe),
        _probabilities(probe),
        _threshold(outcomes),
    ]
    return [asdict(flag) for flag in found]


def _broken(outcomes: pd.DataFrame, headline: Threat, chosen: pd.Series) -> set[int]:
    """Inputs that are held when clean and broken by the chosen rows at the headline or below (any draw: more than half)."""
    import pandas as pd

    rows = outcomes[counted(outcomes, headline) & chosen]
    if not len(rows):
        return set()
    clean = outcomes[outcomes["cell"] == "clean"]
    held = (~pd.Series(failures(clean), index=clean["index"])).groupby(level=0).mean() > 0.5
    cell = [rows["index"], rows["attack"], rows["epsilon"], rows["knowledge"]]
    rate = pd.Series(failures(rows), index=rows.index).astype(float).groupby(cell).mean()
    broken = rate[rate > 0.5].index.get_level_values(0)
    return {int(i) for i in broken if bool(held.get(i, False))}


def _family(outcomes: pd.DataFrame, *names: str) -> pd.Series:
    return outcomes["attack"].str.split("(").str[0].isin(names)


def _inputs(found: set[int]) -> list[int]:
    return sorted(found)[:50]


def _single_step(outcomes: pd.DataFrame, headline: Threat) -> Flag:
    """FGSM breaks inputs that PGD from a random start does not, more than the other way round (exact one-sided McNemar)."""
    name = "single-step-beats-iterative"
    same = (outcomes["knowledge"] == headline.knowledge) if "knowledge" in outcomes else True
    single = _broken(outcomes, headline, _family(outcomes, SINGLE) & same)
    iterative = _broken(outcomes, headline, _family(outcomes, ITERATIVE) & same)
    seen = set(outcomes[counted(outcomes, headline) & _family(outcomes, SINGLE) & same]["index"])
    if not seen or not bool((counted(outcomes, headline) & _family(outcomes, ITERATIVE) & same).any()):
        return Flag(name, None, "not evaluated: needs fgsm and pgd at the headline", None, {})
    b, c = single - iterative, iterative - single
    p = one_sided(len(b), len(c))
    fired = len(b) > len(c) and p < 0.01 and len(b) >= max(2, 0.006 * len(seen))
    text = f"fgsm alone broke {len(b)} of {len(seen)} inputs, pgd alone {len(c)} (p = {p:.2g})"
    return Flag(name, fired, text, len(b) / len(seen), {"b": len(b), "c": len(c), "p": p, "inputs": _inputs(b)})


def _black_box(outcomes: pd.DataFrame, headline: Threat) -> Flag:
    """Noise or transfer breaks inputs that no attack with gradients of the system does."""
    name = "black-box-beats-white-box"
    black = _family(outcomes, *("noise", "transfer"))
    if headline.knowledge == "adaptive":
        black = black | (outcomes["knowledge"] == "oblivious")
    rows = counted(outcomes, headline)
    if not bool((rows & black).any()) or not bool((rows & ~black).any()):
        return Flag(name, None, "not evaluated: needs a black-box and a white-box attack at the headline", None, {})
    n = outcomes[rows & black]["index"].nunique()
    b = _broken(outcomes, headline, black) - _broken(outcomes, headline, ~black)
    low = wilson(len(b), n).low
    text = f"black-box attacks alone broke {len(b)} of {n} inputs (lower bound {100 * low:.2f} %, allowed 0.2 %)"
    fired = low > 0.002 and len(b) >= max(2, 0.006 * n)
    return Flag(name, fired, text, len(b) / n, {"b": len(b), "n": n, "inputs": _inputs(b)})


def _not_probed(name: str) -> Flag:
    return Flag(name, None, "not evaluated: the probe failed", None, {})


def _zero_gradient(probe: Mapping[str, Any] | None) -> Flag:
    """The gradient of the class or detection margin is zero or not finite on more than 1 % of inputs."""
    if probe is None:
        return _not_probed("zero-gradient")
    found = probe["gradient"]
    share = wilson(found["unusable"], found["inputs"])
    text = f"gradient zero or not finite on {found['unusable']} of {found['inputs']} inputs"
    if "error" in found:
        text += f" (it cannot be taken: {found['error']})"
    return Flag("zero-gradient", share.low > 0.01, text, share.value, found)


def _mismatch(probe: Mapping[str, Any] | None, surrogate: bool) -> Flag:
    """Finite differences of the class margin along random signs do not agree with autograd: cosine below .8 at both steps."""
    if probe is None:
        return _not_probed("gradient-mismatch")
    found = probe["mismatch"]
    cosines = [found[name] for name in ("near", "far") if found[name] is not None]
    if not cosines:
        return Flag("gradient-mismatch", None, "not evaluated: no finite differences could be taken", None, found)
    best = max(cosines)
    text = f"cosine of finite differences and gradient {best:.2f} (sound: at least .8)"
    if surrogate:
        text += "; a declared surrogate stands in for a part's gradient"
    return Flag("gradient-mismatch", best < 0.8, text, best, found, "info" if surrogate else "warning")


def _random(probe: Mapping[str, Any] | None) -> Flag:
    """The same batch gets different answers."""
    if probe is None:
        return _not_probed("random")
    changed, n = probe["repeat"]["again"], probe["inputs"]
    declared = bool(probe["random_declared"])
    text = (
        "declared random: scored on fresh draws"
        if declared
        else f"the same batch again changes {changed} of {n} answers"
    )
    return Flag(
        "random", declared or changed > 0, text, changed / n, {"declared": declared}, "info" if declared else "warning"
    )


def _batch(probe: Mapping[str, Any] | None) -> Flag:
    """Answers depend on the batch or on gradient mode."""
    if probe is None:
        return _not_probed("batch-dependent")
    repeat, n = probe["repeat"], probe["inputs"]
    if repeat["again"] > 0:
        return Flag("batch-dependent", None, "not evaluated: answers are random", None, repeat)
    worst = max(repeat[name] for name in ("reversed", "halved", "gradient_mode"))
    text = f"reversing, halving or gradient mode changes {worst} of {n} answers"
    return Flag("batch-dependent", worst > 0, text, worst / n, repeat)


def _probabilities(probe: Mapping[str, Any] | None) -> Flag:
    """The logits are probabilities; the harness hands their logarithm to the losses."""
    if probe is None:
        return _not_probed("probabilities-not-logits")
    fired = bool(probe["probabilities"])
    text = "outputs lie in [0, 1] and sum to 1" if fired else "outputs are logits"
    return Flag("probabilities-not-logits", fired, text, None, {}, "info")


def _threshold(outcomes: pd.DataFrame) -> Flag:
    """The false-positive rate reached on clean test inputs is not the nominal one.

    With n calibration inputs and the k-th smallest score as threshold, the number rejected of m is beta-binomial.
    """
    name = "threshold-off"
    if not outcomes.attrs.get("rejects", False):
        return Flag(name, False, "the system never rejects", None, {})
    from scipy import stats

    clean = outcomes[(outcomes["cell"] == "clean") & (outcomes["draw"] == 0)]
    m, rejected = len(clean), int((~clean["accepted"]).sum())
    n, rate = int(outcomes.attrs["calibrated"]), float(outcomes.attrs["rate"])
    above = max(1, n + 1 - math.ceil((n + 1) * (1 - rate) - 1e-9))  # as `system.calibrate` chooses
    chance = stats.betabinom(m, above, n + 1 - above)
    p = min(1.0, 2 * float(min(chance.cdf(rejected), chance.sf(rejected - 1))))
    reached = wilson(rejected, m)
    text = f"rejects {100 * reached.value:.2f} % of {m} clean inputs, nominal {100 * rate:g} % (p = {p:.2g})"
    fired = p < 0.001 or (reached.high < rate / 2)
    return Flag(name, fired, text, reached.value, {"rejected": rejected, "clean": m, "calibrated": n, "p": p})
