"""Detection in the embedding space of another network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._craft import batches, budget_of, crafted
from geometry.representations.hyperplane import separating_hyperplane
from geometry.representations.linear_map import explained_share, least_squares_map, mean_squared_error
from geometry.representations.spectrum import magnitude, phase
from harness.types import Attack, Network, Score, Spec, Split, State

Features = Callable[[Tensor], Tensor]
_FEATURES: dict[str, Features] = {"embedding": lambda x: x, "magnitude": magnitude, "phase": phase}


@dataclass(frozen=True)
class LinearMapSVM:
    """Maps the victim's embeddings linearly to those of a canonical network, where a linear SVM tells attacked ones.

    Embeddings are those of the penultimate layer. The map is fitted on a third of the inputs, clean and attacked, each
    network with its own attack; the support vector machine on canonical embeddings of the second third; the last third
    gives the held-out R^2, mean squared error and AUROC that the state records. features: the embedding, or magnitude
    or phase of its Fourier transform. ridge, affine: of the map. Raises TypeError for networks without `features`.
    Source: Jamil et al. 2023, equations 1 and 2, algorithm 1.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    canonical: Spec = Spec.of("victim", "self", seed=1)
    attack: Spec = Spec.of("attack", "pgd", steps=10)
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float = 0.1
    features: Literal["embedding", "magnitude", "phase"] = "embedding"
    ridge: float = 0.0
    affine: bool = True

    def fit(self, data: Split, *, victim: Network, canonical: Network, attack: Attack) -> State:
        """The map, the hyperplane, and how well they do on held-out inputs; in float64."""
        mapping, teaching, held_out = _thirds(data)
        source = self._pair(victim, mapping, attack, "victim")
        target = self._pair(canonical, mapping, attack, "canonical")
        fitted = least_squares_map(torch.cat(source), torch.cat(target), ridge=self.ridge, affine=self.affine)
        plane = separating_hyperplane(*self._pair(canonical, teaching, attack, "canonical"))
        mapped = [fitted(part) for part in self._pair(victim, held_out, attack, "victim")]
        truth = torch.cat(self._pair(canonical, held_out, attack, "canonical"))
        return {
            "matrix": fitted.matrix,
            "offset": fitted.offset,
            "normal": plane.normal,
            "threshold": -plane.offset,
            "held_out_r2": torch.tensor(explained_share(torch.cat(mapped), truth)),
            "held_out_mse": torch.tensor(mean_squared_error(torch.cat(mapped), truth)),
            "held_out_auroc": _auroc(plane(mapped[0]), plane(mapped[1])),
        }

    def load(self, state: State, *, victim: Network, canonical: Network, attack: Attack) -> Score:
        """Decision value of the mapped embedding, (B, *S) -> (B,); map and hyperplane are one linear function of it."""
        normal = state["matrix"] @ state["normal"]
        offset = state["offset"] @ state["normal"] - state["threshold"]
        return _Score(_embedding(victim), _FEATURES[self.features], normal.float(), offset.float())

    def _pair(self, network: Network, data: Split, attack: Attack, stream: str) -> tuple[Tensor, Tensor]:
        """Features (N, F) float64 of the inputs, and of their adversarial counterparts for this network."""
        embedding, features = _embedding(network), _FEATURES[self.features]
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for batch in batches(data):
            adversarial = crafted(attack, network, batch, budget_of(attack, self.norm, self.epsilon), stream)
            with torch.no_grad():
                found[0].append(features(embedding(batch.x)).double())
                found[1].append(features(embedding(adversarial)).double())
        return torch.cat(found[0]), torch.cat(found[1])


@dataclass(frozen=True, eq=False)
class _Score:
    """A linear function of features of an embedding."""

    embedding: Callable[[Tensor], Tensor]
    features: Features
    normal: Tensor
    offset: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        features = self.features(self.embedding(x))
        return features @ self.normal.to(features) + self.offset.to(features)


def _embedding(network: Network) -> Callable[[Tensor], Tensor]:
    """The network's penultimate layer."""
    if not callable(getattr(network, "features", None)):
        name = type(network).__name__
        raise TypeError(f"linear_map_svm reads the penultimate layer, and {name} has no method features(x) -> (B, F)")
    return network.features


def _thirds(data: Split) -> tuple[Split, Split, Split]:
    """Three disjoint parts of the source inputs, at random."""
    first, second, third = torch.randperm(len(data)).to(data.y.device).tensor_split(3)
    return data[first], data[second], data[third]


def _auroc(clean: Tensor, adversarial: Tensor) -> Tensor:
    """Share of pairs in which the adversarial input scores higher, ties half."""
    difference = adversarial[:, None] - clean
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean()
