"""Zhang et al. 2024: adversarial risk split along and across a manifold of data."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.types import Dataset, Spec
from leaderboard.papers._zhang_theorems import theorems
from leaderboard.papers._zhang_toys import Toy, circle, plane, table

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Zhang:
    """Standard, normal, in-manifold and nearby-normal risk beside the adversarial risk (Zhang et al. 2024, Tables 1, 2).

    circle_epochs and plane_epochs: how long networks are trained (1,000 and 2,000 in the paper), 0 leaves a table out;
    budget: the L_inf one of adversarial training on the circle and, twice as large, on the plane; circle_inputs and
    plane_inputs: points of the quadratures. dataset: a study of the harness has one; no table here reads it.
    """

    dataset: Spec = Spec.of("dataset", "digits")
    circle_epochs: int = 1000
    plane_epochs: int = 1000
    budget: float = 0.1
    circle_inputs: int = 4000
    plane_inputs: int = 2000

    def run(self, *, dataset: Dataset) -> Tables:
        """Tables by their numbers in the paper, and the examples of the theorems."""
        return {
            "setting": [{name: value for name, value in vars(self).items() if name != "dataset"}],
            "theorems": list(theorems()),
            "table_1": self._rows(circle(self.circle_epochs, self.circle_inputs), self.circle_epochs, self.budget),
            "table_2": self._rows(plane(self.plane_epochs, self.plane_inputs), self.plane_epochs, 2 * self.budget),
        }

    def _rows(self, toys: Iterator[Toy], epochs: int, budget: float) -> list[Row]:
        return [row for toy in toys for row in table(toy, budget)] if epochs else []


def studies() -> list[Spec]:
    """What `leaderboard paper zhang` runs."""
    return [Spec.of("study", "zhang")]


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._zhang_report").report(results)
    return text
