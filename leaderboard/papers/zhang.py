"""Zhang et al. 2024: adversarial risk split along and across a manifold of data."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.types import Spec
from leaderboard.papers._zhang_theorems import theorems
from leaderboard.papers._zhang_toys import Toy, circle, plane, table

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Record = dict[str, Any]


@dataclass(frozen=True)
class Zhang:
    """Standard, normal, in-manifold and nearby-normal risk beside the adversarial risk (Zhang et al. 2024, Tables 1, 2).

    circle_epochs and plane_epochs: how long networks are trained (1,000 and 2,000 in the paper), 0 leaves a table out;
    budget: the L_inf one of adversarial training on the circle and, twice as large, on the plane; circle_inputs and
    plane_inputs: points of the quadratures.
    """

    circle_epochs: int = 1000
    plane_epochs: int = 1000
    budget: float = 0.1
    circle_inputs: int = 4000
    plane_inputs: int = 2000

    def run(self) -> Tables:
        """Tables by their numbers in the paper, and the examples of the theorems."""
        return {
            "setting": [dict(vars(self))],
            "theorems": list(theorems()),
            "table_1": self._rows(circle(self.circle_epochs, self.circle_inputs), self.circle_epochs, self.budget),
            "table_2": self._rows(plane(self.plane_epochs, self.plane_inputs), self.plane_epochs, 2 * self.budget),
        }

    def _rows(self, toys: Iterator[Toy], epochs: int, budget: float) -> list[Row]:
        return [row for toy in toys for row in table(toy, budget)] if epochs else []


IMAGES = (("fashion_mnist", 1.5), ("mnist", 1.5), ("cifar10", 0.25))  # data and L2 budgets of Table 3, cifar10 for SVHN
VICTIM = {"epochs": 20, "dropout": 0.0}
_ALONG = ("in_manifold", "latent_pgd", "on_manifold_pgd")


def studies() -> list[Spec]:
    """What `leaderboard paper zhang` runs besides grids."""
    victim = Spec.of("victim", "cnn", **VICTIM)
    images = [
        Spec.of("study", "zhang_images", dataset=Spec.of("dataset", name), victim=victim, epsilon=epsilon)
        for name, epsilon in IMAGES
    ]
    return [Spec.of("study", "zhang"), *images]


def grids() -> list[dict[str, Any]]:
    """Table 3: a grid for each set of images; at a budget e the manifold is searched within 2e too, its normals within 3e."""
    manifold = {"manifold": {"autoencoder": {"refinements": 0}}}
    parts = [{name: manifold} for name in ("normal", *_ALONG)]
    return [
        {
            "name": f"zhang-{name}",
            "suite": "zhang-1",
            "datasets": [name],
            "victims": [{"cnn": VICTIM}],
            "defenses": ["none"],
            "attacks": [{"apgd": {"loss": "margin"}}, {"apgd": {"loss": "margin", "targets": 3}}, *parts],
            "threats": [
                {"norm": "l2", "epsilons": [epsilon], "knowledge": ["adaptive"]},
                {"norm": "l2", "epsilons": [2 * epsilon], "knowledge": ["adaptive"], "attacks": parts},
                {
                    "norm": "l2",
                    "epsilons": [3 * epsilon],
                    "knowledge": ["adaptive"],
                    "attacks": [{"nearby_normal": manifold}],
                },
            ],
            "headline": {"norm": "l2", "epsilon": epsilon, "knowledge": "adaptive"},
            "inputs": 500,
            "scrutiny": "light",
        }
        for name, epsilon in IMAGES
    ]


def report(results: list[Tables], records: list[list[Record]]) -> str:
    """Ours beside the paper's printed figures, as Markdown."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._zhang_report").report(results, records)
    return text


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Images with their projections, and what moves along and across made of them: titles and files in the folder."""
    found: list[tuple[str, Path]] = importlib.import_module("leaderboard.papers._zhang_pictures").draw(folder, results)
    return found
