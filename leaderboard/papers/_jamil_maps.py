"""Linear maps between the embeddings of networks under attack, and what a shared detector makes of the mapped ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from geometry.representations.hyperplane import Hyperplane, separating_hyperplane
from geometry.representations.linear_map import LinearMap, explained_share, mean_squared_error
from geometry.representations.ridge_path import RidgePath, chosen_ridge
from geometry.representations.spectrum import magnitude, phase
from harness.types import Network

Row = dict[str, Any]
MAPS = ("least squares", "ridge")
COST = 0.01  # the C of the support vector machine, which the paper does not state: at 1 wide embeddings are fitted too closely
SPECTRA: dict[str, Callable[[Tensor], Tensor]] = {"magnitude": magnitude, "phase": phase}


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
    rows = embeddings[thirds.teaching]
    return separating_hyperplane(rows.clean, rows.adversarial, cost=COST)


def mapped(learned: LinearMap, held_out: Embeddings, widths: Sequence[int]) -> list[Embeddings]:
    """A source's held-out rows in the space of each target; the map is that to all targets side by side."""
    joint, places = held_out.through(learned), torch.tensor(list(widths)).cumsum(0)[:-1]
    pieces = (rows.tensor_split(places, dim=1) for rows in (joint.clean, joint.adversarial))
    return [Embeddings(clean, adversarial) for clean, adversarial in zip(*pieces, strict=True)]


def fitting_rows(number: int) -> Tensor:
    """Which of the mapping third's rows, clean ones before adversarial ones, a ridge is fitted on: (2 * number,) bool.

    The other quarter judges it; both rows of an image are on one side.
    """
    return (torch.arange(number) % 4 != 0).repeat(2)


def ridges(source: Tensor, targets: Sequence[Tensor]) -> list[float]:
    """The ridge of each target, relative to the mean squared singular value, chosen within the mapping third."""
    return chosen_ridge(source, targets, fitting_rows(len(source) // 2).to(source.device))


def detectors(subjects: Sequence[Subject], thirds: Thirds) -> list[Hyperplane]:
    """Every network's own detector."""
    return [detector(subject.embeddings, thirds) for subject in subjects]


def pairs(
    subjects: Sequence[Subject], thirds: Thirds, planes: Sequence[Hyperplane], y: Tensor, exact: int
) -> Iterator[Row]:
    """Every source and target, by least squares and with a ridge: errors of the map, detection, the target's last layer.

    Detection is on all held-out inputs; errors and the last layer on the first `exact` of them.
    """
    targets = [subject.embeddings[thirds.mapping].both for subject in subjects]
    some = thirds.held_out[:exact]
    for source in subjects:
        rows, held_out = source.embeddings[thirds.mapping].both, source.embeddings[thirds.held_out]
        path, chosen = RidgePath.of(rows), ridges(rows, targets)
        for i, target in enumerate(subjects):
            both = (0.0, chosen[i])
            for name, ridge, learned in zip(MAPS, both, path.maps(targets[i], both), strict=True):
                found = source.embeddings[some].through(learned)
                right = target.classes(found.adversarial) == y[some]
                names: Row = {"map": name, "source": source.name, "target": target.name}
                yield (
                    names
                    | errors(found, target.embeddings[some])
                    | detection(through(planes[i], learned), held_out)
                    | {"head_accuracy": float(right.double().mean()), "ridge": ridge}
                )


def spectra(subjects: Sequence[Subject], thirds: Thirds, chosen_targets: Sequence[int]) -> Iterator[Row]:
    """Every source and some targets, with the Fourier magnitude and phase of the embeddings in their place: detection."""
    for features, function in SPECTRA.items():
        spaces = [subject.embeddings.through(function) for subject in subjects]
        planes = [detector(spaces[place], thirds) for place in chosen_targets]
        targets = [spaces[place][thirds.mapping].both for place in chosen_targets]
        for source, space in zip(subjects, spaces, strict=True):
            rows = space[thirds.mapping].both
            path, chosen = RidgePath.of(rows), ridges(rows, targets)
            for i, place in enumerate(chosen_targets):
                for name, ridge in zip(MAPS, (0.0, chosen[i]), strict=True):
                    names: Row = {"features": features, "map": name, "source": source.name}
                    names["target"] = subjects[place].name
                    yield names | detection(scored(path, planes[i], targets[i], ridge), space[thirds.held_out])


def controls(subjects: Sequence[Subject], thirds: Thirds, planes: Sequence[Hyperplane]) -> Iterator[Row]:
    """Every source and target, by least squares: maps of unpaired rows, and of clean or of adversarial rows only."""
    parts = [subject.embeddings[thirds.mapping] for subject in subjects]
    shuffled = torch.randperm(len(parts[0].both), generator=torch.Generator().manual_seed(0)).to(parts[0].clean.device)
    for source, part in zip(subjects, parts, strict=True):
        held_out = source.embeddings[thirds.held_out]
        both, clean, adversarial = (RidgePath.of(rows) for rows in (part.both, part.clean, part.adversarial))
        for i, (target, own) in enumerate(zip(subjects, parts, strict=True)):
            unpaired = scored(both, planes[i], own.both[shuffled], 0.0)
            predicted = held_out.through(unpaired).both
            yield {
                "source": source.name,
                "target": target.name,
                "r2_unpaired": explained_share(predicted, planes[i](target.embeddings[thirds.held_out].both)[:, None]),
                "auroc_unpaired": detection(unpaired, held_out)["auroc"],
                "auroc_map_of_clean": detection(scored(clean, planes[i], own.clean, 0.0), held_out)["auroc"],
                "auroc_map_of_adversarial": detection(scored(adversarial, planes[i], own.adversarial, 0.0), held_out)[
                    "auroc"
                ],
            }


def through(plane: Hyperplane, learned: LinearMap) -> LinearMap:
    """A target's detector on a source's own rows: the score after the map, one linear function of them."""
    return LinearMap((learned.matrix @ plane.normal)[:, None], plane(learned.offset)[None])


def scored(path: RidgePath, plane: Hyperplane, targets: Tensor, ridge: float) -> LinearMap:
    """The same from the detector's scores of the targets alone, as a map is linear in what it is learned from."""
    return path.map(plane(targets)[:, None], ridge)


def errors(found: Embeddings, truth: Embeddings) -> Row:
    """Mean squared error of adversarial rows, an element; R^2 over clean and adversarial rows."""
    return {
        "mse": mean_squared_error(found.adversarial, truth.adversarial),
        "r2": explained_share(found.both, truth.both),
    }


def detection(score: LinearMap, rows: Embeddings) -> Row:
    """Area under the curve, and true-positive rates at 1 and 5 % false positives, of a score of a source's rows."""
    clean, adversarial = score(rows.clean)[:, 0], score(rows.adversarial)[:, 0]
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
