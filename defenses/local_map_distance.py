"""Detection by the distance of an input's local affine map to those of training inputs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._craft import batches
from defenses._smooth_network import SoftplusForReLU
from defenses._units import Units, some
from harness.types import Network, Score, Split, State

BETA = 20.0  # of the softplus that stands for ReLU in the surrogate


@dataclass(frozen=True)
class LocalMapDistance:
    """Scores an input by the distance of its local affine map to the nearest cluster centre of its predicted class.

    In its polyhedron the logit of the predicted class is w x + b; (w, b) of `references` fit inputs are clustered into
    `clusters` a class (k-means), and the distance is in units of the class's mean distance to its mean. The map is
    constant inside a polyhedron, so that the surrogate rounds off the ReLUs. Raises TypeError for victims that are no torch module.
    Source: Sattelberg et al. 2023, whose clusters of local maps classify (table 1); here they detect.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    clusters: int = 10
    references: int = 4000

    def __post_init__(self) -> None:
        if not 1 <= self.clusters <= self.references:
            raise ValueError(
                f"local_map_distance takes 1 <= clusters <= references, not {self.clusters} of {self.references}"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """Centres (K, clusters, d + 1), nan where a class has fewer; and the mean distance (K,) of a class to its mean."""
        Units.of(victim, "local_map_distance")
        chosen = some(data, self.references)
        rows, classes = zip(*(_rows(victim, batch.x) for batch in batches(chosen)), strict=True)
        maps, predicted = torch.cat(rows), torch.cat(classes)
        centres = torch.full((data.num_classes, self.clusters, maps.shape[1]), torch.nan).to(maps)
        usual = torch.full((data.num_classes,), torch.nan).to(maps)
        for label in range(data.num_classes):
            own = maps[predicted == label]
            if len(own):
                found = _centres(own, self.clusters)
                centres[label, : len(found)] = found
                usual[label] = torch.linalg.vector_norm(own - own.mean(0), dim=1).mean()
        middle = usual.nanmean().clamp_min(1e-12)
        return {"centres": centres, "usual": torch.where(usual > 0, usual, middle)}

    def load(self, state: State, *, victim: Network) -> Score:
        """The relative distance, (B, *S) -> (B,)."""
        Units.of(victim, "local_map_distance")
        return _Distance(victim, state["centres"], state["usual"])


def _centres(rows: Tensor, number: int) -> Tensor:
    """Centres (at most `number`, D) by k-means, from numbers of torch's generator; inputs of one polyhedron coincide."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    machine = KMeans(min(number, len(rows)), random_state=int(torch.randint(2**31 - 1, ())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = machine.fit(rows.double().cpu().numpy())
    return torch.as_tensor(found.cluster_centers_).to(rows)


def _rows(victim: Network, x: Tensor, *, again: bool = False) -> tuple[Tensor, Tensor]:
    """(w, b) of each input's predicted logit, (B, d + 1), and the class (B,); again: differentiable once more."""
    with torch.enable_grad():
        x = x if again else x.detach().requires_grad_()
        logits = victim(x)
        predicted = logits.detach().argmax(1)
        value = logits.gather(1, predicted[:, None])[:, 0]
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=again)
        offset = value - (slope * x).flatten(1).sum(1)
        rows = torch.cat([slope.flatten(1), offset[:, None]], 1)
    return (rows if again else rows.detach()), predicted


@dataclass(frozen=True, eq=False)
class _Distance:
    """The distance to the nearest centre of the predicted class."""

    victim: Network
    centres: Tensor
    usual: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._distance(*_rows(self.victim, x))

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same of the network with its corners rounded off."""
        x = x if x.requires_grad else x.detach().requires_grad_()
        with SoftplusForReLU(BETA):
            return self._distance(*_rows(self.victim, x, again=True))

    def _distance(self, rows: Tensor, predicted: Tensor) -> Tensor:
        centres = self.centres.to(rows)[predicted]
        squares = (rows[:, None] - centres).square().sum(2)
        nearest = squares.nan_to_num(nan=torch.inf).amin(1)
        known = torch.isfinite(nearest)
        distance = torch.where(known, nearest, 1.0).clamp_min(1e-20).sqrt() / self.usual.to(rows)[predicted]
        return torch.where(known, distance, 1e6)
