"""Worst case, intervals, ties and order: pure functions of outcomes, for `submit` and the board alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.pairs import better, cutoff, student_p
from harness.types import Interval, Threat

if TYPE_CHECKING:
    import pandas as pd

Z = 1.959963984540054
SIGNIFICANCE = 0.05


def wilson(successes: float, number: int) -> Interval:
    """Share of successes with Wilson's 95 % interval (Wilson 1927); nan for number = 0."""
    if number == 0:
        return Interval(math.nan, math.nan, math.nan)
    share = successes / number
    centre = share + Z * Z / (2 * number)
    half = Z * math.sqrt(share * (1 - share) / number + Z * Z / (4 * number * number))
    scale = 1 + Z * Z / number
    return Interval(share, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def mean_interval(values: np.ndarray[Any, Any]) -> Interval:
    """Mean of per-input probabilities with its 95 % interval; Wilson's where each is 0 or 1.

    Elsewhere that of the normal approximation with z^2 / 2 more values of 0 and as many of 1 (Agresti and Coull 1998,
    section 3, for proportions): without them a few inputs that differ from the rest decide how far the mean may be off.
    """
    if bool(np.isin(values, (0.0, 1.0)).all()):
        return wilson(float(values.sum()), len(values))
    mean, added = float(values.mean()), Z * Z / 2
    number = len(values) + 2 * added
    centre = (float(values.sum()) + added) / number
    squares = float(((values - centre) ** 2).sum()) + added * (centre**2 + (1 - centre) ** 2)
    half = Z * math.sqrt(squares) / number
    return Interval(mean, max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class Robustness:
    """Per input: the probability of being right and accepted in a single pass, clean and in the worst case, and what broke it."""

    index: np.ndarray[Any, Any]
    clean: np.ndarray[Any, Any]
    robust: np.ndarray[Any, Any]
    breaker: np.ndarray[Any, Any]

    @property
    def interval(self) -> Interval:
        """Robust accuracy over all inputs, those wrong before any attack included."""
        return mean_interval(self.robust)


def counted(outcomes: pd.DataFrame, threat: Threat) -> pd.Series:
    """The rows of attacks that count against a threat: same norm, an epsilon at most as large, knowledge at most as much."""
    known = ["oblivious", "adaptive"] if threat.knowledge == "adaptive" else ["oblivious"]
    small = outcomes["epsilon"] <= threat.epsilon * (1 + 1e-9)
    return (
        (outcomes["cell"] == "attack") & (outcomes["norm"] == threat.norm) & small & outcomes["knowledge"].isin(known)
    )


def failures(outcomes: pd.DataFrame) -> pd.Series:
    """Clean: wrong or rejected. Attacked: inside the ball, wrong and accepted."""
    wrong = outcomes["prediction"] != outcomes["label"]
    clean = outcomes["cell"] == "clean"
    return np.where(clean, wrong | ~outcomes["accepted"], wrong & outcomes["accepted"] & outcomes["valid"])  # type: ignore[return-value]


def robustness(outcomes: pd.DataFrame, threat: Threat, *, attack: str | None = None) -> Robustness:
    """The worst case per input over all attacks of a threat (or over one attack).

    The worst attack of an input is chosen on its selection draws and scored on the others; a deterministic system has one
    draw for both. Raises ValueError where an attacked input was not seen clean.
    """
    chosen = counted(outcomes, threat)
    if attack is not None:
        chosen &= outcomes["attack"] == attack
    clean = outcomes[outcomes["cell"] == "clean"]
    attacked = outcomes[chosen]
    index = np.sort(attacked["index"].unique()) if len(attacked) else np.sort(clean["index"].unique())
    clean = clean[clean["index"].isin(index)]
    tables = [_rates(clean, index)]
    names = [""]
    for name, rows in attacked.groupby("attack", sort=False):
        for _, cell in rows.groupby(["epsilon", "knowledge", "check"], sort=False):
            tables.append(_rates(cell, index))
            names.append(str(name))
    selected = np.stack([table[0] for table in tables])
    fresh = np.stack([table[1] for table in tables])
    if np.isnan(fresh[0]).any():
        raise ValueError(
            "some attacked inputs were not observed clean; observe at least as many clean inputs as attacked ones"
        )
    selected = np.nan_to_num(selected, nan=-1.0)
    worst = selected.argmax(0)
    columns = np.arange(len(index))
    robust = 1.0 - fresh[worst, columns]
    breaker = np.array(names, dtype=object)[worst]
    breaker[(selected[worst, columns] <= 0)] = ""
    return Robustness(index, 1.0 - fresh[0], robust, breaker)


def _rates(rows: pd.DataFrame, index: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Share of failures of each input on selection draws and on scoring draws; nan where it was not observed."""
    import pandas as pd

    failed = pd.Series(np.asarray(failures(rows), dtype=float), index=rows["index"].to_numpy())
    if not len(rows) or rows["draw"].max() == 0:
        rate = failed.groupby(level=0).mean().reindex(index).to_numpy()
        return rate, rate
    selecting = (rows["role"] == "select").to_numpy()
    select = failed[selecting].groupby(level=0).mean().reindex(index).to_numpy()
    return select, failed[~selecting].groupby(level=0).mean().reindex(index).to_numpy()


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of McNemar's test, from the inputs that only one of two systems holds."""
    number, low = only_a + only_b, min(only_a, only_b)
    if number == 0:
        return 1.0
    ways = sum(math.comb(number, k) for k in range(low + 1))
    return float(min(1.0, 2 * ways / 2**number))


def one_sided(more: int, less: int) -> float:
    """Exact p of at least `more` of the discordant inputs by chance."""
    number = more + less
    ways = sum(math.comb(number, k) for k in range(more, number + 1))
    return float(ways / 2**number) if number else 1.0


def paired(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Mean difference a - b over the inputs that both hold a value for, and its p.

    Exact McNemar for 0 and 1, paired t for probabilities; (n,) each, nan where an input was not observed. p is 1 where
    nothing can be told: no input in common, or a single one with a probability.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    if not both.any():
        return 0.0, 1.0
    x, y = a[both], b[both]
    difference = x - y
    if bool(((x == 0) | (x == 1)).all() and ((y == 0) | (y == 1)).all()):
        return float(difference.mean()), mcnemar(int((difference > 0).sum()), int((difference < 0).sum()))
    mean = float(difference.mean())
    spread = float(((difference - mean) ** 2).sum())
    return mean, 1.0 if np.allclose(x, y) else float(student_p(mean, spread, len(x)))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which hypotheses are rejected at 5 % in the family (Holm 1979)."""
    family = np.asarray(p_values, dtype=float)
    limit = cutoff(family, np.ones(len(family), dtype=int), hypotheses=len(family), level=SIGNIFICANCE)
    return [bool(p <= limit) for p in family]


@dataclass(frozen=True)
class Ranked:
    """A record with its rank: 1 + the number of systems better by the paired test; equal ranks are ties."""

    rank: int
    tied: bool
    flagged: bool
    record: Mapping[str, Any]


def group(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two records must share to be compared."""
    threat = record["headline"]
    return (
        record["suite"],
        record.get("size"),
        record["dataset"],
        record["victim"],
        threat["norm"],
        threat["epsilon"],
        threat["knowledge"],
        record.get("seed"),
    )


def flagged(record: Mapping[str, Any]) -> bool:
    """Whether a flag that speaks against the number fired."""
    return any(flag.get("fired") and flag.get("severity", "warning") == "warning" for flag in record.get("flags") or [])


def ranked(records: Sequence[Mapping[str, Any]]) -> list[Ranked]:
    """Records in order, ranked inside their group; unflagged before flagged at the same rank.

    Records without a robust accuracy have no rank and are left out.
    """
    result: list[Ranked] = []
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        if _value(record) >= 0:
            groups.setdefault(group(record), []).append(record)
    for members in groups.values():
        result.extend(_ranked(members))
    return result


def _robust(members: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
    """Per-input robustness of each record over the union of their inputs: (systems, inputs), nan where not observed."""
    held = [record.get("per_input") or {} for record in members]
    index = np.unique(np.concatenate([np.asarray(h.get("index", []), dtype=np.int64) for h in held]))
    table = np.full((len(members), len(index)), np.nan)
    for row, h in zip(table, held, strict=True):
        row[np.searchsorted(index, np.asarray(h.get("index", []), dtype=np.int64))] = h.get("robust", [])
    return table


def _value(record: Mapping[str, Any]) -> float:
    found = (record.get("metrics") or {}).get("robust_accuracy") or {}
    value = found.get("value")
    return float(value) if value is not None and not math.isnan(value) else -1.0


def implausible(record: Mapping[str, Any], peers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A flag: a detector holds more at epsilon than any classifier of its group at epsilon / 2, by intervals and two points.

    From a detector robust at epsilon follows a classifier robust at epsilon / 2, if an inefficient one: such a detector
    asks for scrutiny. Source: Tramer 2022, "Detecting adversarial examples is (nearly) as hard as classifying them".
    """
    return _implausible(record, _best_at_half(record["headline"], peers))


def _best_at_half(head: Mapping[str, Any], peers: Sequence[Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]] | None:
    """The classifier that is best at half of the headline's epsilon, with its robust accuracy there."""
    half = (
        (peer["defense"], threat["robust_accuracy"])
        for peer in peers
        if "detector" not in (peer.get("roles") or [])
        for threat in peer.get("threats") or []
        if (threat["norm"], threat["knowledge"]) == (head["norm"], head["knowledge"])
        and math.isclose(threat["epsilon"], head["epsilon"] / 2, rel_tol=1e-6)
    )
    return max(half, key=lambda pair: float(pair[1]["value"]), default=None)


def _implausible(record: Mapping[str, Any], rival: tuple[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    head, name = record["headline"], "implausible"
    flag: dict[str, Any] = {"name": name, "fired": None, "value": None, "evidence": {}, "severity": "info"}
    if rival is None:
        return flag | {"text": f"not evaluated: no classifier was attacked at half of epsilon, {head['epsilon'] / 2:g}"}
    defense, best = rival
    own = record["metrics"]["robust_accuracy"]
    difference = own["value"] - best["value"]
    text = (
        f"robust {100 * own['value']:.1f} % at epsilon {head['epsilon']:g}; the best classifier, {defense}, "
        f"{100 * best['value']:.1f} % at half of it"
    )
    evidence = {"detector": own, "classifier": best, "defense": defense}
    fired = difference > 0.02 and own["low"] > best["high"]
    return flag | {"fired": fired, "value": difference, "text": text, "evidence": evidence}


def _doubted(members: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of a group, detectors with the flag that needs other rows."""
    detects = ["detector" in (member.get("roles") or []) for member in members]
    if not any(detects):
        return list(members)
    rival = _best_at_half(members[0]["headline"], members)
    return [
        {**member, "flags": [*(member.get("flags") or []), _implausible(member, rival)]} if detector else member
        for member, detector in zip(members, detects, strict=True)
    ]


def _ranked(members: Sequence[Mapping[str, Any]]) -> list[Ranked]:
    members = _doubted(members)
    ranks = (1 + better(_robust(members), level=SIGNIFICANCE)).tolist()
    number, doubted = Counter(ranks), [flagged(member) for member in members]
    order = sorted(
        range(len(members)), key=lambda i: (ranks[i], doubted[i], -_value(members[i]), members[i]["defense"])
    )
    return [Ranked(ranks[i], number[ranks[i]] > 1, doubted[i], members[i]) for i in order]
