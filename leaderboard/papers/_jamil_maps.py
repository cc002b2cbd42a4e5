"""Linear maps between the embeddings of networks under attack, and what a shared detector makes of the mapped ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from geometry.representations.hyperplane import Hyperplane, separating_hyperplane
from geometry.representations.linear_map import explained_share, least_squares_map, mean_squared_error
from geometry.representations.spectrum import magnitude, phase
from harness.types import Network

Row = dict[str, Any]
FEATURES: dict[str, Callable[[Tensor], Tensor]] = {"embedding": lambda x: x, "magnitude": magnitude, "phase": phase}


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Rows of clean inputs and of their adversarial counterparts, paired: (N, F) float64 each."""

    clean: Tensor
    adversarial: Tensor

    @property
    def both(self) -> Tensor:
        """Clean rows, then adversarial ones: (2N, F)."""
        return torch.cat([self.clean, self.adversarial])

    def through(self, function: Callable[[Tensor], Tensor]) -> Embeddings:
        """A function of all rows."""
        return Embeddings(function(self.clean), function(self.adversarial))

    def __getitem__(self, rows: Tensor) -> Embeddings:
        return Embeddings(self.clean[rows], self.adversarial[rows])


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, its adversarial inputs (N, *S), and its embeddings of them and of the clean inputs."""

    name: str
    network: Network
    attacked: Tensor
    embeddings: Embeddings

    def predictions(self) -> Embeddings:
        """Predicted classes (N,) of clean and adversarial inputs, from the embeddings."""
        return self.embeddings.through(self.classes)

    def classes(self, embeddings: Tensor) -> Tensor:
        """What the last layer makes of embeddings (N, F): (N,)."""
        with torch.no_grad():
            return self.network.head(embeddings.to(self.attacked)).argmax(1)


@dataclass(frozen=True, eq=False)
class Thirds:
    """Three disjoint parts of the source inputs, as indices: for the map, for the support vector machine, held out."""

    mapping: Tensor
    teaching: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, number: int, seed: int, device: torch.device) -> Thirds:
        """A random partition of `number` inputs."""
        order = torch.randperm(number, generator=torch.Generator().manual_seed(seed)).to(device)
        return cls(*order.tensor_split(3))


def detector(embeddings: Embeddings, thirds: Thirds) -> Hyperplane:
    """A network's own detector: the hyperplane between clean and adversarial rows of the second third."""
    return separating_hyperplane(embeddings.clean[thirds.teaching], embeddings.adversarial[thirds.teaching])


def mapped(learn_from: Tensor, learn_to: Sequence[Tensor], held_out: Embeddings, ridge: float) -> list[Embeddings]:
    """A source's held-out rows in the space of each target, the maps learned from paired rows (one decomposition)."""
    joint = held_out.through(least_squares_map(learn_from, torch.cat(list(learn_to), dim=1), ridge=ridge))
    places = torch.tensor([rows.shape[1] for rows in learn_to]).cumsum(0)[:-1]
    pieces = (rows.tensor_split(places, dim=1) for rows in (joint.clean, joint.adversarial))
    return [Embeddings(clean, adversarial) for clean, adversarial in zip(*pieces, strict=True)]


def pairs(subjects: Sequence[Subject], thirds: Thirds, ridge: float) -> Iterator[Row]:
    """Every source and target, with embeddings and with their spectra: errors of the map, and detection."""
    for features, function in FEATURES.items():
        spaces = [subject.embeddings.through(function) for subject in subjects]
        planes = [detector(space, thirds) for space in spaces]
        targets = [space[thirds.mapping].both for space in spaces]
        for source, space in zip(subjects, spaces, strict=True):
            found = mapped(space[thirds.mapping].both, targets, space[thirds.held_out], ridge)
            for i, target in enumerate(subjects):
                names = {"features": features, "source": source.name, "target": target.name}
                yield names | errors(found[i], spaces[i][thirds.held_out]) | detection(planes[i], found[i])


def controls(subjects: Sequence[Subject], thirds: Thirds, y: Tensor, ridge: float) -> Iterator[Row]:
    """Every source and target: maps of unpaired, of clean and of adversarial rows, and the target's last layer."""
    parts = [subject.embeddings[thirds.mapping] for subject in subjects]
    shuffled = torch.randperm(len(parts[0].both), generator=torch.Generator().manual_seed(0)).to(y.device)
    planes = [detector(subject.embeddings, thirds) for subject in subjects]
    for source, part in zip(subjects, parts, strict=True):
        held_out = source.embeddings[thirds.held_out]
        usual = mapped(part.both, [p.both for p in parts], held_out, ridge)
        unpaired = mapped(part.both, [p.both[shuffled] for p in parts], held_out, ridge)
        of_clean = mapped(part.clean, [p.clean for p in parts], held_out, ridge)
        of_adversarial = mapped(part.adversarial, [p.adversarial for p in parts], held_out, ridge)
        for i, target in enumerate(subjects):
            right = target.classes(usual[i].adversarial) == y[thirds.held_out]
            yield {
                "source": source.name,
                "target": target.name,
                "head_accuracy": float(right.double().mean()),
                "r2_unpaired": errors(unpaired[i], target.embeddings[thirds.held_out])["r2"],
                "auroc_unpaired": detection(planes[i], unpaired[i])["auroc"],
                "auroc_map_of_clean": detection(planes[i], of_clean[i])["auroc"],
                "auroc_map_of_adversarial": detection(planes[i], of_adversarial[i])["auroc"],
            }


def errors(found: Embeddings, truth: Embeddings) -> Row:
    """Mean squared error of adversarial rows, an element; R^2 over clean and adversarial rows."""
    return {
        "mse": mean_squared_error(found.adversarial, truth.adversarial),
        "r2": explained_share(found.both, truth.both),
    }


def detection(plane: Hyperplane, found: Embeddings) -> Row:
    """Area under the curve, and true-positive rates at 1 and 5 % false positives, of a detector on mapped rows."""
    clean, adversarial = plane(found.clean), plane(found.adversarial)
    return {
        "auroc": auroc(clean, adversarial),
        "tpr_at_1": true_positive_rate(clean, adversarial, 0.01),
        "tpr_at_5": true_positive_rate(clean, adversarial, 0.05),
    }


def auroc(clean: Tensor, adversarial: Tensor) -> float:
    """Probability that an adversarial score is above a clean one, ties half."""
    labels = torch.cat([torch.zeros(len(clean)), torch.ones(len(adversarial))])
    return float(roc_auc_score(labels.numpy(), torch.cat([clean, adversarial]).cpu().numpy()))


def true_positive_rate(clean: Tensor, adversarial: Tensor, false_positive_rate: float) -> float:
    """Share of adversarial scores above the clean scores' upper quantile."""
    threshold = torch.quantile(clean, 1.0 - false_positive_rate, interpolation="higher")
    return float((adversarial > threshold).double().mean())
