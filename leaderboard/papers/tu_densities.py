"""Tu et al. 2023, Figure 2: densities of a set of images on its own test images and on foreign ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometry.manifolds._denoised import DenoisedManifold
from geometry.manifolds._variational import VariationalManifold
from geometry.manifolds.flow import FlowManifold
from harness.data import Data
from harness.perform import resized
from harness.progress import steps
from harness.spec import label
from harness.types import Spec
from leaderboard.papers._tu_densities import chained, evidence, parts_of_flow, probability_flow
from leaderboard.papers._tu_scores import ranking

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Density = Callable[[Tensor], Tensor]

_BINS = 40


@dataclass(frozen=True)
class TuDensities:
    """How densities of one set of images rank its own test images and foreign ones (Tu et al. 2023, Figure 2).

    Of the diffusion: by the probability-flow equation in `flow_steps` steps with one random direction, and by the chain of
    equation 23 in `chain_steps`; of the flow: its three sums; of the autoencoder: the evidence bound and the
    importance-weighted evidence. inputs: of each set.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    foreign: tuple[Spec, ...] = (Spec.of("dataset", "mnist"), Spec.of("dataset", "kmnist"))
    diffusion: Spec = Spec.of("manifold", "diffusion", weights="fashion_mnist")
    flow: Spec = Spec.of("manifold", "flow", epochs=3, flow_epochs=3, refinements=0)
    autoencoder: Spec = Spec.of("manifold", "variational_autoencoder", weights="fashion_mnist")
    inputs: int = 200
    flow_steps: int = 10
    chain_steps: int = 50

    def __post_init__(self) -> None:
        if min(self.inputs, self.flow_steps, self.chain_steps) < 1:
            raise ValueError("tu_densities takes one input and one step at least")

    def run(
        self,
        *,
        dataset: Data,
        foreign: Sequence[Data],
        diffusion: DenoisedManifold,
        flow: FlowManifold,
        autoencoder: VariationalManifold,
    ) -> Tables:
        """`densities`, a row for each density and foreign set, and `histograms` of each density on all sets."""
        test, train = dataset.split("test").x[: self.inputs], dataset.split("train").x[: self.inputs]
        sets = {label(self.dataset): test} | {
            label(spec): resized(data.split("test").x[: self.inputs], test)
            for spec, data in zip(self.foreign, foreign, strict=True)
        }
        densities: dict[str, Density] = {
            "diffusion, probability flow": lambda x: probability_flow(diffusion, x, self.flow_steps),
            "diffusion, chain ratios": chained(diffusion, train, self.chain_steps),
            **parts_of_flow(flow),
            "autoencoder, evidence bound": autoencoder.elbo,
            "autoencoder, evidence": lambda x: evidence(autoencoder, x),
        }
        tables: Tables = {"setting": [{"data": label(self.dataset), "inputs": len(test)}], "densities": []}
        tables["histograms"] = []
        for name, density in steps(densities.items(), "densities", total=len(densities)):
            with torch.no_grad():
                found = {key: density(x).double().numpy() for key, x in sets.items()}
            tables["densities"] += list(_rows(name, found))
            tables["histograms"] += list(_histograms(name, found))
        return tables


def _rows(name: str, found: dict[str, np.ndarray[Any, Any]]) -> Iterator[Row]:
    home, *others = found
    for other in others:
        ranked = {key: vars(value) for key, value in ranking(found[home], found[other]).items()}
        medians = {"home": float(np.median(found[home])), "median": float(np.median(found[other]))}
        yield {"density": name, "foreign": other, **medians, **ranked}


def _histograms(name: str, found: dict[str, np.ndarray[Any, Any]]) -> Iterator[Row]:
    """Counts between the 1 and 99 % quantiles of all sets, what lies outside in the first and last bin."""
    every = np.concatenate(list(found.values()))
    low, high = np.quantile(every, [0.01, 0.99])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for key, values in found.items():
        counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
        yield {"density": name, "set": key, "edges": edges.round(3).tolist(), "counts": counts.tolist()}
