"""The records of `rdm_robustness` over seeds: means, and differences paired by seed, with t-intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
Found = Mapping[tuple[str, bool], Mapping[str, Mapping[str, float]]]  # (fine-tuning, shuffled) -> victim -> figures

PLAIN = "plain fine-tuning"


def systems(records: Sequence[Row]) -> Found:
    """Clean accuracy and robust accuracy at each epsilon in per cent, by fine-tuning, control and victim."""
    found: dict[tuple[str, bool], dict[str, dict[str, float]]] = {}
    for record in records:
        figures = {"clean": _value(record["metrics"].get("clean_accuracy"))}
        for threat in record["threats"]:
            figures[f"{threat['norm']} {threat['epsilon']:g}"] = _value(threat.get("robust_accuracy"))
        found.setdefault(_named(record["defense"]), {})[record["victim"]] = figures
    return found


def beside(found: Found) -> tuple[list[str], list[list[Any]]]:
    """A line for each system: means over seeds with intervals."""
    names = _names(found)
    lines = []
    for (what, shuffled), by_victim in found.items():
        figures = [mean_interval([row.get(name, np.nan) for row in by_victim.values()]) for name in names]
        stimuli = "shuffled" if shuffled else "own" if (what, True) in found else None
        lines.append([what, stimuli, len(by_victim), *figures])
    return ["system", "stimuli", "seeds", *names], lines


def differences(found: Found) -> tuple[list[str], list[list[Any]]]:
    """Target less its control, and both less plain fine-tuning, by seed, in points of accuracy."""
    names, lines = _names(found), []
    for what, shuffled in found:
        if shuffled or (what, True) not in found:
            continue
        pairs = [((what, False), (what, True), "control")]
        if (PLAIN, False) in found:
            pairs += [((what, False), (PLAIN, False), "plain"), ((what, True), (PLAIN, False), "control − plain")]
        for one, other, less in pairs:
            label = f"{what}: {less}" if less.startswith("control −") else f"{what} − {less}"
            lines.append([label, *(mean_interval(_paired(found[one], found[other], name)) for name in names)])
    return ["difference", *names], lines


def mean_interval(values: Sequence[float]) -> str | None:
    """Mean with a 95 % t-interval over the values; the mean alone for one."""
    from scipy.stats import t

    known = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if not len(known):
        return None
    if len(known) == 1:
        return f"{known[0]:.1f}"
    half = float(t.ppf(0.975, len(known) - 1)) * float(known.std(ddof=1)) / len(known) ** 0.5
    return f"{known.mean():.1f} ({known.mean() - half:.1f} to {known.mean() + half:.1f})"


def _paired(one: Mapping[str, Mapping[str, float]], other: Mapping[str, Mapping[str, float]], name: str) -> list[float]:
    return [one[victim].get(name, np.nan) - other[victim].get(name, np.nan) for victim in one if victim in other]


def _names(found: Found) -> list[str]:
    return list(dict.fromkeys(name for rows in found.values() for row in rows.values() for name in row))


def _value(interval: Mapping[str, float] | None) -> float:
    return float("nan") if interval is None else 100 * interval["value"]


def _named(defense: str) -> tuple[str, bool]:
    """What a defense's label says: the fine-tuning by target and loss, and whether it is the control."""
    if not defense.startswith("rdm_fine_tuning"):
        return defense, False
    given = dict(re.findall(r"(\w+)=([^,()]+)", defense))
    if float(given.get("strength", 1)) == 0:
        return PLAIN, False
    return f"{given.get('target', 'gabor')}, {given.get('loss', 'atanh')}", given.get("shuffled") == "True"
