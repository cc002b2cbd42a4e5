"""Outcomes input by input: what each attack of each cell came to, over all draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.rank import counted, failures
from harness.types import Threat

if TYPE_CHECKING:
    import pandas as pd

_AXES = ["cell", "check", "attack", "norm", "epsilon", "knowledge", "index"]


def per_input(outcomes: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell, attack, epsilon and input: broken (in more than half of the draws), attacked, accepted, loss.

    A clean input is broken where it is wrong or rejected; no attack on it counts as one.
    """
    table = outcomes.assign(failed=failures(outcomes).astype(float), accepted=outcomes["accepted"].astype(float))
    columns = {"failed": "mean", "attacked": "max", "accepted": "mean", "loss": "first"}
    if len(table) and table["draw"].max() > 0:
        table = table.groupby(_AXES, sort=False).agg(columns).reset_index()
    table = table[[*_AXES, *columns]].assign(broken=table["failed"] > 0.5)
    table["attacked"] = table["attacked"].astype(bool)
    table["attacked"] &= table["index"].isin(held(table)) | (table["cell"] != "attack")
    table.attrs = dict(outcomes.attrs)
    return table


def held(table: pd.DataFrame) -> set[int]:
    """Inputs that are right and accepted when clean."""
    return _indices(table[(table["cell"] == "clean") & ~table["broken"]])


def at_headline(table: pd.DataFrame, headline: Threat, *, attacks: pd.Series | None = None) -> pd.DataFrame:
    """The rows of the grid's own attacks that count against the headline (those of some attacks)."""
    chosen = counted(table, headline) & (table["check"] == "")
    return table[chosen if attacks is None else chosen & attacks]


def broken(rows: pd.DataFrame) -> set[int]:
    """Inputs that any of the rows found broken."""
    return _indices(rows[rows["broken"]])


def attacked(rows: pd.DataFrame) -> set[int]:
    """Inputs that an attack was given."""
    return _indices(rows[rows["attacked"]])


def seen(rows: pd.DataFrame) -> set[int]:
    """Inputs that the rows speak of, attacked or left alone."""
    return _indices(rows)


def _indices(rows: pd.DataFrame) -> set[int]:
    return {int(i) for i in rows["index"].unique()}
