"""Jamil et al. 2023: linear maps between the embeddings of networks, and one detector of attacks for all of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from harness.data import Data
from harness.progress import steps
from harness.spec import build, label
from harness.system import System
from harness.types import Attack, Dataset, Network, Spec, Split
from leaderboard.papers._jamil_adaptive import Ball, observed, under_adaptive_attack
from leaderboard.papers._jamil_maps import Row, Subject, Thirds, controls, detectors, pairs, spectra

Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Jamil:
    """Linear maps between networks' embeddings, and the detector they share, under one attack (Jamil et al. 2023).

    The networks, trained on `dataset`, are attacked on its first `inputs` test inputs; these are cut into thirds (map,
    support vector machine, held out) by source image, anew for each of `splits`. With a `victim` all see the inputs that were
    made against that network alone, one fixed set, in place of those made against themselves. Maps are affine, by least
    squares and with a ridge chosen within the mapping third; errors of maps are measured on `exact` held-out inputs. The
    adaptive attacker knows the classifier, the map and the detector, and gets `adaptive_inputs` held-out inputs of the first
    split (0: there is none). spectral: the places of the targets into which spectra are mapped, as the paper has two (none: all).
    Unlike the paper's equation 2 the distances are squared. Source: algorithm 1, Tables 1 to 9.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    networks: tuple[Spec, ...] = (
        Spec.of("victim", "cnn"),
        Spec.of("victim", "mlp"),
        Spec.of("victim", "cnn", width=16),
    )
    attack: Spec = Spec.of("attack", "fgsm")
    victim: Spec | None = None
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float = 0.05
    inputs: int = 10_000
    splits: int = 5
    exact: int = 500
    adaptive: Spec = Spec.of("attack", "pgd", steps=50)
    adaptive_inputs: int = 200
    spectral: tuple[int, ...] = ()

    def run(
        self,
        *,
        dataset: Dataset,
        networks: Sequence[Network],
        attack: Attack,
        adaptive: Attack,
        victim: Network | None = None,
    ) -> Tables:
        """Tables: setting, networks (Table 1), pairs (2 to 7), spectra (8, 9), splits (pairs of each), controls, adaptive."""
        data = dataset.split("test")
        data = data[torch.arange(min(self.inputs, len(data)), device=data.y.device)]
        subjects = self._subjects(data, networks, attack, victim)
        thirds = [Thirds.of(len(data), split, data.y.device) for split in range(self.splits)]
        measured: list[list[Row]] = []
        spectral: list[Row] = []
        controlled: list[Row] = []
        for part in steps(thirds, "mapping"):
            planes = detectors(subjects, part)
            measured.append(list(pairs(subjects, part, planes, data.y, self.exact)))
            spectral += spectra(subjects, part, self.spectral or range(len(subjects)))
            controlled += controls(subjects, part, planes)
        every = [row for rows in measured for row in rows]
        return {
            "setting": [
                self._setting(data, getattr(build(self.dataset), "note", "") if isinstance(dataset, Data) else "")
            ],
            "networks": [_summary(subject, data) for subject in subjects],
            "pairs": averaged(every, ("map", "source", "target")),
            "splits": [_short(row, split) for split, rows in enumerate(measured) for row in rows],
            "spectra": averaged(spectral, ("features", "map", "source", "target")),
            "controls": averaged(controlled, ("source", "target")),
            "adaptive": self._adaptive(subjects, data, thirds[0], adaptive) if self.adaptive_inputs else [],
        }

    def _subjects(
        self, data: Split, networks: Sequence[Network], attack: Attack, victim: Network | None
    ) -> list[Subject]:
        """The networks under the studied attack."""
        ball, shared = Ball(self.norm, self.epsilon), None
        if victim is not None:
            bare = System(victim)
            shared = ball.attacked(bare, bare, data, attack, "shared")
        named = list(zip(map(label, self.networks), networks, strict=True))
        return [
            observed(name, network, data, attack=attack, ball=ball, shared=shared)
            for name, network in steps(named, "attacking")
        ]

    def _adaptive(self, subjects: Sequence[Subject], data: Split, thirds: Thirds, attack: Attack) -> list[Row]:
        """What is left when the attacker knows the detector."""
        ball, number = Ball(self.norm, self.epsilon), self.adaptive_inputs
        return list(under_adaptive_attack(subjects, data, thirds, attack=attack, ball=ball, number=number))

    def _setting(self, data: Split, note: str) -> Row:
        """What the tables are about."""
        return {
            "dataset": label(self.dataset),
            "note": note,
            "attack": label(self.attack),
            "made against": label(self.victim) if self.victim else "each network",
            "norm": self.norm,
            "epsilon": self.epsilon,
            "inputs": len(data),
            "splits": self.splits,
            "adaptive": label(self.adaptive) if self.adaptive_inputs else "none",
        }


def studies() -> list[Spec]:
    """What `leaderboard paper jamil` runs: every attack on both data sets, adaptive attackers, and the test of interpolation.

    Fewer inputs for attacks of many steps; Carlini and Wagner in l2.
    """
    # By name, not by an import statement: what another data set is studied with is no part of a study's key.
    plan: list[Spec] = importlib.import_module("leaderboard.papers._jamil_networks").studies()
    return plan


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown; results in the order of `studies`."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._jamil_report").report(results)
    return text


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Detection by target and source, what decides it, and errors over rows a feature: titles and files in the folder."""
    pictures = importlib.import_module("leaderboard.papers._jamil_pictures")
    found: list[tuple[str, Path]] = pictures.draw(folder, results)
    return found


def averaged(rows: Iterable[Row], names: tuple[str, ...]) -> list[Row]:
    """Mean over the rows of equal names, and the standard deviation (ddof 0) of the AUROC over them."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return [dict(zip(names, key, strict=True)) | _mean(members, names) for key, members in groups.items()]


def _mean(members: list[Row], names: tuple[str, ...]) -> Row:
    """Means of all columns but the names."""
    values = {name: torch.tensor([m[name] for m in members]).double() for name in members[0] if name not in names}
    means = {name: float(value.mean()) for name, value in values.items()}
    return means | ({"auroc_sd": float(values["auroc"].std(correction=0))} if "auroc" in values else {})


def _short(row: Row, split: int) -> Row:
    """What the decomposition of the variance needs of one split."""
    return {"split": split} | {name: row[name] for name in ("map", "source", "target", "mse", "r2", "auroc")}


def _summary(subject: Subject, data: Split) -> Row:
    """A network's line of Table 1, and how large its perturbations are."""
    predicted, change = subject.predictions(), (subject.attacked - data.x).flatten(1).double()
    return {
        "network": subject.name,
        "width": subject.embeddings.clean.shape[1],
        "accuracy": float((predicted.clean == data.y).double().mean()),
        "adversarial_accuracy": float((predicted.adversarial == data.y).double().mean()),
        "perturbation_linf": float(change.abs().amax(1).mean()),
        "perturbation_l2": float(change.norm(dim=1).mean()),
    }
