"""Adversarial risk taken apart: what befell each input along a manifold, across it and nearby, and one cause for each loss.

The exact risks of manifolds in closed form are `geometry.risk`; here attacks stand for the events, so every risk is met
from below. Source: Zhang et al. 2024, definitions 1 to 4 and theorem 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from harness.rank import Z, counted, failures, robustness, wilson
from harness.types import Interval, Threat

CAUSES = ("standard", "normal", "in_manifold", "nearby_normal", "unexplained")
_TERMS = ("standard", "normal", "in_manifold_twice", "nearby_normal")


def flags(outcomes: pd.DataFrame, threat: Threat) -> pd.DataFrame | None:
    """A row for each input, a column of booleans for each event at a budget e; None where the grid lacks an attack that tells.

    standard: wrong or rejected when clean. adversarial: lost to any attack. normal, in_manifold: lost to an attack that
    moves so (`moves` in the outcomes' attrs), within e; in_manifold_twice: within 2e. nearby_normal: lost along the normal
    of a point nearby (an attack at 3e) and neither along its own within e nor on the manifold within 2e;
    nearby_normal_printed: the same with 2e for its own normal, as definition 4 prints it. The last two are left out where
    nothing attacks at 3e. An input counts if all of these attacks were tried on it; one lost when clean has every event
    that may rest on its own point.
    """
    found: dict[str, pd.Series] = {}
    for name, moves, factor in (
        ("normal", "normal", 1),
        ("in_manifold", "in_manifold", 1),
        ("in_manifold_twice", "in_manifold", 2),
        ("normal_twice", "normal", 2),
        ("near", "nearby_normal", 3),
    ):
        lost = _lost(outcomes, threat, moves, factor * threat.epsilon)
        if lost is not None:
            found[name] = lost
    if not {"normal", "in_manifold", "in_manifold_twice"} <= found.keys():
        return None
    whole = robustness(outcomes, threat)
    table = pd.DataFrame(found, index=whole.index)
    table["standard"], table["adversarial"] = whole.clean <= 0.5, whole.robust <= 0.5
    table = table[table.notna().all(axis=1) | table["standard"]]
    if not len(table):
        return None
    table = table.apply(lambda column: column.fillna(True).astype(bool) | table["standard"])
    return _with_nearby(table)


def _lost(outcomes: pd.DataFrame, threat: Threat, moves: str, epsilon: float) -> pd.Series | None:
    """Whether each input that was tried was lost, in most draws, to an attack that moves so at an epsilon; None if nobody tried."""
    known: Mapping[str, str] = outcomes.attrs.get("moves", {})
    wide = Threat(threat.norm, epsilon, threat.knowledge)
    rows = outcomes[
        counted(outcomes, wide)
        & np.isclose(outcomes["epsilon"].astype(float), epsilon, rtol=1e-6)
        & outcomes["attack"].isin([attack for attack, moved in known.items() if moved == moves])
        & outcomes["attacked"]
    ]
    if not len(rows):
        return None
    failed = rows.assign(failed=np.asarray(failures(rows), dtype=float))
    rates = failed.groupby(["index", "attack", "knowledge", "check"], sort=False)["failed"].mean()
    lost: pd.Series = rates.groupby(level=0).max() >= 0.5
    return lost.astype(object)


def _with_nearby(table: pd.DataFrame) -> pd.DataFrame:
    """The events of definition 4 in place of the searches they are made of."""
    if "near" in table:
        near = table["near"] & ~table["in_manifold_twice"]
        table["nearby_normal"] = near & ~table["normal"]
        if "normal_twice" in table:
            table["nearby_normal_printed"] = near & ~table["normal_twice"]
    return table.drop(columns=["near", "normal_twice"], errors="ignore")


def causes(table: pd.DataFrame) -> pd.Series:
    """The first of CAUSES that holds for each input that was lost, "" for the others; in_manifold is meant within 2e."""
    lost = table["adversarial"]
    cause = pd.Series("unexplained", index=table.index, dtype=object).where(lost, "")
    for name, held in (
        ("nearby_normal", table.get("nearby_normal")),
        ("in_manifold", table["in_manifold_twice"]),
        ("normal", table["normal"]),
        ("standard", table["standard"]),
    ):
        if held is not None:
            cause[held & lost] = name
    return cause


def decomposition(outcomes: pd.DataFrame, threat: Threat) -> dict[str, Any] | None:
    """Risks with intervals, their sum (theorem 1's bound), the shares of each cause, and the inputs behind each figure.

    The bound's terms are found by attack, from below: a sum under the adversarial risk refutes nothing. None as in `flags`.
    """
    table = flags(outcomes, threat)
    if table is None:
        return None
    cause, number = causes(table), len(table)
    shares = {name: asdict(wilson(float(table[name].sum()), number)) for name in table}
    if set(_TERMS) <= set(table):
        shares["bound"] = asdict(_mean(table[list(_TERMS)].sum(axis=1).to_numpy(dtype=float)))
    return {
        **asdict(threat),
        "inputs": number,
        "risks": shares,
        "causes": {name: asdict(wilson(float((cause == name).sum()), number)) for name in CAUSES},
        "per_input": {str(name): table.index[table[name]].tolist() for name in table}
        | {f"by {name}": table.index[cause == name].tolist() for name in CAUSES},
    }


def _mean(values: np.ndarray[Any, Any]) -> Interval:
    """A mean of counts, which may exceed 1, with its normal interval."""
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Interval(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)
