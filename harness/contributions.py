"""What each attack adds to the others on one system: inputs that only it broke, inputs that it left to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from harness.rank import counted, failures
from harness.types import Norm, Threat

if TYPE_CHECKING:
    import pandas as pd

AXES = ["attack", "norm", "epsilon", "knowledge"]


@dataclass(frozen=True)
class _Part:
    """Inputs, right when clean, that an attack was given, that it broke, that others broke, and that anything broke."""

    given: set[int]
    mine: set[int]
    others: set[int]
    anyone: set[int]


def contributions(outcomes: pd.DataFrame) -> dict[tuple[str, Threat], dict[str, int]]:
    """For each attack of the grid under each threat: right, missed, wins.

    right: inputs it was given that are right and accepted when clean. missed: those of them that another attack which
    counts against the threat broke, and it did not. wins: inputs right when clean that nobody else broke. Broken as in
    `rank.robustness`: by any selection draw.
    """
    return {
        place: {
            "right": len(part.given),
            "missed": len((part.anyone - part.mine) & part.given),
            "wins": len(part.mine - part.others),
        }
        for place, part in _parts(outcomes).items()
    }


def only_by(outcomes: pd.DataFrame, attack: str) -> dict[Norm, set[int]]:
    """By norm, the inputs that an attack alone broke, at whatever size."""
    found: dict[Norm, set[int]] = {}
    for (name, threat), part in _parts(outcomes).items():
        if name == attack:
            found.setdefault(threat.norm, set()).update(part.mine - part.others)
    return found


def _parts(outcomes: pd.DataFrame) -> dict[tuple[str, Threat], _Part]:
    right = _right(outcomes)
    attacked = outcomes[(outcomes["cell"] == "attack") & outcomes["index"].isin(right)]
    broken = attacked[_selecting(attacked) & failures(attacked)].drop_duplicates([*AXES, "check", "index"])
    found: dict[tuple[str, Threat], _Part] = {}
    for axes, rows in attacked[attacked["check"] == ""].groupby(AXES, sort=False):
        attack, norm, epsilon, knowledge = cast("tuple[Any, ...]", axes)
        threat = Threat(norm, epsilon, knowledge)
        against = broken[counted(broken, threat)]
        own = against["attack"] == attack
        here = own & (against["epsilon"] == epsilon) & (against["knowledge"] == knowledge) & (against["check"] == "")
        mine, others = set(against.loc[here, "index"]), set(against.loc[~own, "index"])
        given = set(rows.loc[rows["attacked"], "index"])
        found[attack, threat] = _Part(given, mine, others, others | set(against.loc[own, "index"]))
    return found


def _right(outcomes: pd.DataFrame) -> set[int]:
    """Inputs that are right and accepted when clean, in most draws."""
    clean = outcomes[outcomes["cell"] == "clean"]
    rate = clean.assign(failed=failures(clean)).groupby("index")["failed"].mean()
    return set(rate.index[rate < 0.5])


def _selecting(rows: pd.DataFrame) -> pd.Series:
    """Draws by which the worst attack of an input is chosen; all of a deterministic system's."""
    selecting = rows["role"] == "select"
    return selecting if bool(selecting.any()) else rows["role"] == rows["role"]
