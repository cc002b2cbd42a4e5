"""Matrices by target and source, names of networks, and the grouping of studies for the report and the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leaderboard.papers._jamil_networks import LABELS
from leaderboard.papers._markdown import table

Row = dict[str, Any]
Tables = dict[str, list[Row]]
MAPS = ("least squares", "ridge")
_OURS = ("cnn", "mlp")


@dataclass(frozen=True)
class Studies:
    """The results by what they are: every attack on the large networks, the small ones with adaptive attackers, subsets."""

    large: list[Tables]
    small: list[Tables]
    subsets: list[Tables]

    @classmethod
    def of(cls, results: Sequence[Tables]) -> Studies:
        """Told apart by their tables."""
        pairs = [result for result in results if "pairs" in result]
        return cls(
            [result for result in pairs if not result["adaptive"]],
            [result for result in pairs if result["adaptive"]],
            [result for result in results if "sweep" in result],
        )

    def first_of_each_data_set(self) -> list[Tables]:
        """The first study of each data set: FGSM on all inputs."""
        found: dict[str, Tables] = {}
        for result in self.large:
            found.setdefault(dataset(result), result)
        return list(found.values())


@dataclass(frozen=True, eq=False)
class Matrix:
    """Values by target (rows) and source (columns)."""

    sources: list[str]
    targets: list[str]
    values: np.ndarray[Any, Any]

    @classmethod
    def of(cls, rows: Sequence[Row], column: str, mapping: str = MAPS[0]) -> Matrix:
        """Our table as a matrix."""
        some = [row for row in rows if row.get("map", mapping) == mapping]
        names = list(dict.fromkeys(row["source"] for row in some))
        found = {(row["target"], row["source"]): row[column] for row in some}
        shown = [short(name) for name in names]
        return cls(shown, shown, np.array([[found[t, s] for s in names] for t in names], dtype=float))

    @classmethod
    def printed(cls, figures: dict[str, Any]) -> Matrix:
        """A printed table as a matrix."""
        values = np.array(list(figures["targets"].values()), dtype=float)
        return cls(figures["sources"], list(figures["targets"]), values)

    def markdown(self, digits: int = 3) -> str:
        """The matrix as a table."""
        lines = zip(self.targets, self.values, strict=True)
        body = [[target, *(f"{value:.{digits}f}" for value in values)] for target, values in lines]
        return table(["target \\ source", *self.sources], body)

    @property
    def off(self) -> np.ndarray[Any, Any]:
        """The values of other sources than the target."""
        values: np.ndarray[Any, Any] = self.values[~np.eye(len(self.values), dtype=bool)]
        return values

    def loss(self) -> float:
        """Mean of the diagonal less the other values of its row."""
        return float(np.mean(np.diag(self.values).repeat(len(self.values) - 1) - self.off))


def short(label: str) -> str:
    """A network's name for people: that of the architecture, and the parameters of our own."""
    name, _, rest = label.partition("(")
    known = LABELS.get(name, name)
    return f"{known} ({rest.removesuffix(')')})" if rest and name in _OURS else known


def dataset(result: Tables) -> str:
    """The data set of a study."""
    return str(result["setting"][0]["dataset"])


def attack(result: Tables) -> str:
    """The attack, its norm, and whether one set is shared, as a row's name."""
    setting = result["setting"][0]
    shared = " shared" if setting.get("made against", "each network") != "each network" else ""
    return f"{setting['attack'].partition('(')[0]} {setting['norm']}{shared}"


def named(result: Tables) -> str:
    """Data set and attack."""
    return f"{dataset(result)}, {attack(result)}"


def find(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """The row with these values; None if there is none."""
    return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)


def off_mean(rows: Sequence[Row], column: str) -> float:
    """Mean over pairs of different networks."""
    return float(np.mean([row[column] for row in rows if row["source"] != row["target"]]))
