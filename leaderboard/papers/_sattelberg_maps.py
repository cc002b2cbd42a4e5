"""Clusters of local affine maps and maps between networks: Tables 1 and 2 of Sattelberg et al. 2023, with nulls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.local_maps import (
    MapClusters,
    bias_only_null,
    map_clusters,
    map_outputs,
    map_rows,
    mean_row_null,
    row_maps,
    shuffled_rows,
)
from harness.progress import steps
from harness.types import Split

Row = dict[str, Any]

ITERATIONS = 20  # of k-means


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with its maps (N, K, d + 1) in float32, at training inputs and at test inputs."""

    name: str
    network: nn.Module
    training: Tensor
    test: Tensor

    @classmethod
    def of(cls, name: str, network: nn.Module, training: Split, test: Split) -> Subject:
        """The maps of a network at all inputs of both sets."""
        rows = (map_rows(network, part.x, dtype=torch.float32) for part in steps((training, test), f"maps {name}"))
        return cls(name, network, *rows)


@torch.no_grad()
def summary(subject: Subject, training: Split, test: Split) -> Row:
    """Accuracy on the test inputs, of w.x alone too, and the share of training inputs whose pattern another one has."""
    patterns = activation_pattern(subject.network, training.x, packed=True)
    _, counts = torch.unique(patterns, dim=0, return_counts=True)
    return {
        "network": subject.name,
        "accuracy": _accuracy(map_outputs(subject.test, test.x), test),
        "accuracy_without_bias": _accuracy(map_outputs(_with_zero(subject.test[..., :-1]), test.x), test),
        "shared": float(counts[counts > 1].sum()) / len(training),
        "patterns": len(counts),
    }


def table_1(subject: Subject, test: Split, clusters: Sequence[int]) -> Iterator[Row]:
    """Accuracy on the test inputs with k centres an output; with k maps picked at random; with every training map."""
    numbers = [k for k in clusters if k < len(subject.training)]
    for k in steps([*numbers, len(subject.training)], f"clusters {subject.name}"):
        order = torch.randperm(len(subject.training), generator=torch.Generator().manual_seed(k))[:k]
        picked = MapClusters(subject.training[order.to(subject.training.device)].unbind(1))
        if k in numbers:
            found = _accuracy(map_clusters(subject.training, k, iterations=ITERATIONS)(subject.test, test.x), test)
        else:
            found = None
        random = _accuracy(picked(subject.test, test.x), test)
        yield {"network": subject.name, "k": k, "centers": found, "random_maps": random}


def table_2(subjects: Sequence[Subject], test: Split) -> Iterator[Row]:
    """Accuracy on the test inputs of maps from each network to each other one, and of the nulls."""
    for source in steps(subjects, "maps between networks"):
        targets = [subject for subject in subjects if subject is not source]
        usual = _mapped(source.training, [target.training for target in targets], source.test)
        shuffled = _mapped(source.training, [shuffled_rows(target.training) for target in targets], source.test)
        weights = [target.training[..., :-1] for target in targets]
        bare = _mapped(source.training[..., :-1], weights, source.test[..., :-1])
        for i, target in enumerate(targets):
            mean, bias = (null(source.training, target.training) for null in (mean_row_null, bias_only_null))
            yield {
                "from": source.name,
                "to": target.name,
                "mapped": _accuracy(map_outputs(usual[i], test.x), test),
                "without_bias": _accuracy(map_outputs(_with_zero(bare[i]), test.x), test),
                "r2": _explained(usual[i], target.test),
                "mean_row": _accuracy(map_outputs(mean(source.test), test.x), test),
                "shuffled": _accuracy(map_outputs(shuffled[i], test.x), test),
                "bias_only": _accuracy(map_outputs(bias(source.test), test.x), test),
            }


def _mapped(source: Tensor, targets: Sequence[Tensor], rows: Tensor) -> Sequence[Tensor]:
    """Rows of a source in the place of each target's, fitted with one decomposition."""
    joined = row_maps(source, torch.cat(list(targets), 2))(rows)
    return torch.split(joined, [target.shape[2] for target in targets], dim=2)


def _accuracy(outputs: Tensor, data: Split) -> float:
    return float((outputs.argmax(1) == data.y).double().mean())


def _with_zero(weights: Tensor) -> Tensor:
    """Maps w.x without a bias."""
    return torch.cat([weights, torch.zeros_like(weights[..., :1])], 2)


def _explained(found: Tensor, target: Tensor) -> float:
    """R^2 over all coordinates of all outputs together, against each output's mean row."""
    target = target.double()
    return float(1 - (found - target).square().sum() / (target - target.mean(0)).square().sum())
