"""Detection by the density of clean features of the predicted class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pdist

from defenses._features import embedded, shows_features, squared_distances
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class KernelDensity:
    """Scores an input by minus the log-density of its features among clean features of the class that it is given.

    Features (B, F) are those of the penultimate layer; the density is the mean of Gaussian kernels on at most `stored`
    inputs of each class, drawn when fitted. bandwidth: standard deviation of a kernel, in units of the median distance
    between two stored features of one class. Raises TypeError for victims without `features`, ValueError where a class
    has fewer than two inputs. Source: Feinman et al. 2017, "Detecting adversarial samples from artifacts", section 4.1.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    stored: int = 200
    bandwidth: float = 0.25

    def __post_init__(self) -> None:
        if self.stored < 2 or self.bandwidth <= 0:
            raise ValueError(
                f"kernel_density takes at least 2 stored inputs and a positive bandwidth, not {self.stored} and {self.bandwidth}"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """Centre (F,), features (M, F) less the centre, their classes (M,), and the bandwidth in units of the features."""
        shows_features(victim, "kernel_density")
        rows = _some_of_each(data.y, data.num_classes, self.stored)
        features = embedded(victim, data[rows])
        centre = features.mean(0)
        distances = [pdist(features[data.y[rows] == label]) for label in range(data.num_classes)]
        bandwidth = self.bandwidth * torch.cat(distances).median()
        if bandwidth == 0:
            raise ValueError("kernel_density finds all features of a class equal; choose a victim whose features vary")
        state = {"centre": centre, "features": features - centre, "bandwidth": bandwidth}
        return {name: value.float() for name, value in state.items()} | {"classes": data.y[rows]}

    def load(self, state: State, *, victim: Network) -> Score:
        """Minus the log-density, (B, *S) -> (B,)."""
        shows_features(victim, "kernel_density")
        return _Density(victim, state["centre"], state["features"], state["classes"], float(state["bandwidth"]))


@dataclass(frozen=True, eq=False)
class _Density:
    """Kernels on stored features; those of other classes than the predicted one do not count."""

    victim: Network
    centre: Tensor
    stored: Tensor
    classes: Tensor
    bandwidth: float

    def __call__(self, x: Tensor, /) -> Tensor:
        features = self.victim.features(x)
        predicted = self.victim.head(features).argmax(1)
        exponent = squared_distances(features - self.centre.to(features), self.stored.to(features))
        own = predicted[:, None] == self.classes.to(x.device)
        kernels = (exponent / (-2 * self.bandwidth**2)).masked_fill(~own, -math.inf)
        norm = own.sum(1).log() + 0.5 * features.shape[1] * math.log(2 * math.pi * self.bandwidth**2)
        return norm - kernels.logsumexp(1)


def _some_of_each(y: Tensor, num_classes: int, number: int) -> Tensor:
    """Rows of at most `number` inputs of each class, at random."""
    chosen = []
    for label in range(num_classes):
        rows = (y == label).nonzero()[:, 0]
        if len(rows) < 2:
            raise ValueError(
                f"kernel_density needs 2 inputs of each class, but class {label} has {len(rows)}; fit on more"
            )
        chosen.append(rows[torch.randperm(len(rows))[:number].to(rows.device)])
    return torch.cat(chosen)
