"""Jamil et al. 2023: linear maps between the embeddings of networks, and one detector of attacks for all of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from harness.progress import steps
from harness.spec import label
from harness.types import Attack, Dataset, Network, Spec, Split
from leaderboard.papers._jamil_adaptive import Ball, observed, under_adaptive_attack
from leaderboard.papers._jamil_maps import Row, Subject, Thirds, controls, pairs

Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Jamil:
    """Linear maps between networks' embeddings, and the detector they share, under one attack (Jamil et al. 2023).

    The networks, trained on `dataset`, are attacked on its first `inputs` test inputs; these are cut into thirds (map,
    support vector machine, held out) by source image, anew for each of `splits`. The adaptive attacker knows the
    classifier, the map and the detector, and gets `adaptive_inputs` held-out inputs of the first split. Unlike the
    paper's equation 2 the distances are squared, and maps are affine. Source: algorithm 1, Tables 1, 2, 3, 7 to 9.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    networks: tuple[Spec, ...] = (
        Spec.of("victim", "cnn"),
        Spec.of("victim", "mlp"),
        Spec.of("victim", "cnn", width=16),
    )
    attack: Spec = Spec.of("attack", "fgsm")
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float = 0.05
    inputs: int = 10_000
    splits: int = 5
    ridge: float = 0.0
    adaptive: Spec = Spec.of("attack", "pgd", steps=50)
    adaptive_inputs: int = 200

    def run(self, *, dataset: Dataset, networks: Sequence[Network], attack: Attack, adaptive: Attack) -> Tables:
        """Tables: setting, networks (Table 1), pairs (2, 3, 8, 9), controls, head (7) and adaptive."""
        data = dataset.split("test")
        data = data[torch.arange(min(self.inputs, len(data)), device=data.y.device)]
        subjects = self._subjects(data, networks, attack)
        thirds = [Thirds.of(len(data), split, data.y.device) for split in range(self.splits)]
        measured: list[Row] = []
        controlled: list[Row] = []
        for part in steps(thirds, "mapping"):
            measured += pairs(subjects, part, self.ridge)
            controlled += controls(subjects, part, data.y, self.ridge)
        controlled = averaged(controlled, ("source", "target"))
        return {
            "setting": [self._setting(data)],
            "networks": [_summary(subject, data) for subject in subjects],
            "pairs": averaged(measured, ("features", "source", "target")),
            "controls": controlled,
            "head": [_head(subject, data, controlled) for subject in subjects],
            "adaptive": self._adaptive(subjects, data, thirds[0], adaptive),
        }

    def _subjects(self, data: Split, networks: Sequence[Network], attack: Attack) -> list[Subject]:
        """The networks under the studied attack."""
        ball = Ball(self.norm, self.epsilon)
        named = list(zip(map(label, self.networks), networks, strict=True))
        return [observed(name, net, data, attack=attack, ball=ball) for name, net in steps(named, "attacking")]

    def _adaptive(self, subjects: Sequence[Subject], data: Split, thirds: Thirds, attack: Attack) -> list[Row]:
        """What is left when the attacker knows the detector."""
        ball, number = Ball(self.norm, self.epsilon), self.adaptive_inputs
        return list(
            under_adaptive_attack(subjects, data, thirds, attack=attack, ball=ball, number=number, ridge=self.ridge)
        )

    def _setting(self, data: Split) -> Row:
        """What the tables are about."""
        return {
            "dataset": label(self.dataset),
            "attack": label(self.attack),
            "norm": self.norm,
            "epsilon": self.epsilon,
            "inputs": len(data),
            "splits": self.splits,
            "ridge": self.ridge,
            "adaptive": label(self.adaptive),
        }


def studies() -> list[Spec]:
    """What `leaderboard paper jamil` runs: FGSM and PGD in linf, Carlini and Wagner in l2 on fewer inputs."""
    carlini_wagner = Spec.of("attack", "carlini_wagner", steps=60, constants=5, constant=0.1)
    return [
        Spec.of("study", "jamil", attack=Spec.of("attack", "fgsm")),
        Spec.of("study", "jamil", attack=Spec.of("attack", "pgd", steps=20)),
        Spec.of("study", "jamil", attack=carlini_wagner, norm="l2", epsilon=1.0, inputs=2000),
    ]


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown; results in the order of `studies`."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._jamil_report").report(results)
    return text


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


def _head(subject: Subject, data: Split, controlled: list[Row]) -> Row:
    """A target's line of Table 7: its last layer on its own and on other networks' mapped adversarial embeddings."""
    others = [r["head_accuracy"] for r in controlled if r["target"] == subject.name and r["source"] != subject.name]
    values = torch.tensor(others, dtype=torch.float64)
    return {
        "target": subject.name,
        "adversarial_accuracy": float((subject.predictions().adversarial == data.y).double().mean()),
        "mapped_accuracy_mean": float(values.mean()) if others else None,
        "mapped_accuracy_sd": float(values.std(correction=0)) if others else None,
    }
