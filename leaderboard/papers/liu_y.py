"""Liu, Caglar, Peterson and Kirby 2023: the polyhedra of ReLU networks, counted, compared and measured."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.spec import build, label
from harness.system import System
from harness.types import Attack, Dataset, Network, Spec, Split
from leaderboard.papers._jamil_adaptive import Ball
from leaderboard.papers._liu_y_images import Sets, Subject, figure_4, table_2, table_3, table_4, table_5, table_6
from leaderboard.papers._liu_y_toys import figure_1, figure_2, table_1

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class LiuY:
    """Cells of ReLU networks: counts, facets, Hamming distances, cells on segments, largest balls (Liu et al. 2023).

    structures: networks of Tables 3 and 4; polyhedra: of Tables 2, 5 and 6; depths: of Figure 4. They are trained on
    the dataset's part for training. epsilons: of the attack in Table 4; epsilon: in Table 6. inputs: of each set in
    Table 4 (10,000 in the paper); neighbours: in Table 3 (all); pairs: in Table 5 and Figure 4 (1,000); facets: images
    in Table 2 (30); balls: inputs of a set in Table 6 (1,000); toys: networks a row of Table 1 (30); toy_epochs: how
    long these are trained. 0 leaves a table out.
    """

    dataset: Spec = Spec.of("dataset", "mnist")
    structures: tuple[Spec, ...] = (
        Spec.of("victim", "mlp", depth=3, width=200),
        Spec.of("victim", "mlp", depth=5, width=300),
        Spec.of("victim", "mlp", depth=5, width=500),
    )
    polyhedra: tuple[Spec, ...] = (Spec.of("victim", "mlp", depth=5, width=300),)
    depths: tuple[Spec, ...] = (
        Spec.of("victim", "mlp", depth=1, width=200),
        Spec.of("victim", "mlp", depth=2, width=200),
        Spec.of("victim", "mlp", depth=3, width=200),
        Spec.of("victim", "mlp", depth=4, width=200),
        Spec.of("victim", "mlp", depth=5, width=200),
    )
    attack: Spec = Spec.of("attack", "fgsm")
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    epsilon: float = 0.1
    distances: tuple[float, ...] = (0.5, 0.75, 1.0)
    inputs: int = 1000
    neighbours: int = 10_000
    pairs: int = 1000
    facets: int = 1
    balls: int = 20
    toys: int = 30
    toy_epochs: int = 40

    def run(
        self,
        *,
        dataset: Dataset,
        structures: Sequence[Network],
        attack: Attack,
        polyhedra: Sequence[Network] = (),
        depths: Sequence[Network] = (),
    ) -> Tables:
        """Tables by their numbers in the paper, without those of size 0, and setting."""
        data = {name: dataset.split(name) for name in ("train", "test")}
        many = {name: _first(part, self.neighbours) for name, part in data.items()}
        neighbours = self._subjects(self.structures, structures, many)
        segments = self._subjects(self.depths, depths, many)
        cells = self._subjects(self.polyhedra, polyhedra, many)
        tables: Tables = {
            "setting": [self._setting(data, getattr(build(self.dataset), "note", ""))],
            "table_3": list(table_3(neighbours)),
        }
        tables["table_4"] = [
            row
            for subject in neighbours
            for row in table_4(
                replace(subject, sets=self._attacked(subject, attack, self.inputs, self.epsilons)), self.distances
            )
        ]
        if self.pairs:
            fifth = [table_5(subject, self.pairs) for subject in cells]
            tables["table_5"] = [row for rows, _ in fifth for row in rows]
            tables["table_5_all"] = [row for _, row in fifth]
            tables["figure_4"] = list(figure_4(segments, self.pairs))
        if self.facets:
            tables["table_2"] = [table_2(subject, self.facets) for subject in cells]
        if self.balls:
            measured = [
                replace(subject, sets=self._attacked(subject, attack, self.balls, (self.epsilon,))) for subject in cells
            ]
            tables["table_6"] = [row for subject in measured for row in table_6(subject, self.balls)]
        return tables | self._toys()

    def _toys(self) -> Tables:
        """Figures 1 and 2 and Table 1, which need no data set."""
        if not self.toys:
            return {}
        return {
            "figure_1": figure_1(self.toys, self.toy_epochs),
            "figure_2": figure_2(min(self.toys, 5), self.toy_epochs),
            "table_1": list(table_1(self.toys, self.toy_epochs)),
        }

    def _subjects(self, specs: Sequence[Spec], networks: Sequence[Network], sets: Sets) -> list[Subject]:
        """The networks, by label, in float64."""
        return [Subject.of(spec, network, sets) for spec, network in zip(specs, networks, strict=True)]

    def _attacked(self, subject: Subject, attack: Attack, number: int, epsilons: Sequence[float]) -> Sets:
        """The first inputs of each set; of test inputs also the attacked ones, and noise of random signs, equally large."""
        sets = {name: _first(part, number) for name, part in subject.sets.items()}
        test, bare = sets["test"], System(subject.victim)
        for epsilon in epsilons:
            found = Ball("linf", epsilon).attacked(bare, bare, test, attack, f"{epsilon:g}")
            sets[f"{self.attack.name} {epsilon:g}"] = replace(test, x=found)
            signs = test.draws.stream("signs").uniform(*test.x.shape[1:]).lt(0.5).float() * 2 - 1
            sets[f"signs {epsilon:g}"] = replace(test, x=(test.x + epsilon * signs).clamp(0, 1))
        return sets

    def _setting(self, data: Sets, note: str) -> Row:
        """What the tables are about."""
        training = len(data["train"])
        return {"dataset": label(self.dataset), "note": note, "trained on": training, "attack": label(self.attack)}


def studies() -> list[Spec]:
    """What `leaderboard paper liu_y` runs: MNIST with all tables, Fashion-MNIST and CIFAR-10 with some of those on images."""
    small = (
        Spec.of("victim", "mlp", depth=3, width=200, epochs=3),
        Spec.of("victim", "mlp", depth=5, width=300, epochs=3),
    )
    fashion = Spec.of(
        "study",
        "liu_y",
        dataset=Spec.of("dataset", "fashion_mnist"),
        structures=small,
        polyhedra=small[1:],
        depths=(),
        inputs=500,
        facets=0,
        balls=5,
        toys=0,
    )
    cifar = Spec.of(
        "study",
        "liu_y",
        dataset=Spec.of("dataset", "cifar10"),
        structures=(Spec.of("victim", "mlp", depth=8, width=400, epochs=5),),
        polyhedra=(),
        depths=(),
        distances=(0.1,),
        epsilons=(0.02,),
        inputs=500,
        neighbours=2000,
        pairs=0,
        facets=0,
        balls=0,
        toys=0,
    )
    return [Spec.of("study", "liu_y"), fashion, cifar]


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown; results in the order of `studies`."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._liu_y_report").report(results)
    return text


def _first(data: Split, number: int) -> Split:
    return data[torch.arange(min(number, len(data)), device=data.y.device)]


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """The paper's pictures: titles and files in the folder."""
    found: list[tuple[str, Path]] = importlib.import_module("leaderboard.papers._liu_y_pictures").draw(folder)
    return found
