"""Tu et al. 2023: patches on images that are purified by ascent on the evidence lower bound, and attackers who know it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.data import Data
from harness.spec import build
from harness.types import Attack, Spec
from leaderboard.papers._tu_purification import Patch, table

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Tu:
    """Accuracy of a VAE-classifier under patches, with and without purification (Tu et al. 2023, Table 1).

    parts: the classifier, a training defense that shows the bound, and the purification. numbers: of steps of the
    purification; adaptive attackers face the last. The patch stands where the attacks put it.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    parts: tuple[tuple[str, Spec], ...] = (
        ("classifier", Spec.of("defense", "vae_classifier", width=16, epochs=6, weight=200.0, deviation=0.2)),
        (
            "purification",
            Spec.of("defense", "elbo_purification", radius=None, restarts=1, step_size=0.0157, surrogate_steps=8),
        ),
    )
    patch_pgd: Spec = Spec.of("attack", "patch_pgd", height=8, width=8, row=10, column=10, steps=30)
    patch_nag: Spec = Spec.of("attack", "patch_nag", height=8, width=8, row=10, column=10, steps=30)
    side: int = 8
    numbers: tuple[int, ...] = (4, 8, 16, 32, 64)
    inputs: int = 200

    def run(self, *, dataset: Data, patch_pgd: Attack, patch_nag: Attack) -> Tables:
        """`table_1`: rows of attacks and knowledge, accuracies with intervals by number of purifying steps."""
        train, test = dataset.split("train"), dataset.split("test")
        test = test[torch.arange(min(self.inputs, len(test)))]
        part, purification = (build(dict(self.parts)[name]) for name in ("classifier", "purification"))
        classifier = part.load(part.fit(train, victim=None), victim=None)

        def purifier(number: int) -> Any:
            made = replace(purification, steps=number)
            return made.load({}, victim=classifier)

        attacks = {"patch_pgd": patch_pgd, "patch_nag": patch_nag}
        rows = list(table(classifier, purifier, Patch(test, self.side), attacks, self.numbers))
        patch = f"{getattr(patch_pgd, 'height', None)}x{getattr(patch_pgd, 'width', None)} pixels"
        return {"table_1": rows, "setting": [{"data": self.dataset.name, "inputs": len(test), "patch": patch}]}


def studies() -> list[Spec]:
    """What `leaderboard paper tu` runs."""
    return [Spec.of("study", name) for name in ("tu", "tu_points", "tu_densities", "tu_grid")]


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._tu_report").report(results)
    return text


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Samplers, densities, grids, traversals and accuracy by steps: titles and files in the folder."""
    found: list[tuple[str, Path]] = importlib.import_module("leaderboard.papers._tu_pictures").draw(folder, results)
    return found
