"""Is the failure of VGG-19 in Jamil et al. 2023 interpolation? Maps from as many rows as features, with and without a ridge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from geometry.representations.activations import all_activations
from geometry.representations.hyperplane import Hyperplane
from geometry.representations.linear_map import explained_share
from geometry.representations.ridge_path import RidgePath, chosen_ridge
from harness.progress import steps
from harness.spec import label
from harness.types import Attack, Dataset, Network, Spec
from leaderboard.papers._jamil_adaptive import Ball, observed
from leaderboard.papers._jamil_maps import (
    MAPS,
    Embeddings,
    Row,
    Subject,
    Thirds,
    auroc,
    detection,
    detector,
    fitting_rows,
    through,
)

Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class JamilInterpolation:
    """Maps into one network's space from subsets of the mapping third, from far fewer rows than features to far more.

    networks: the one with two embeddings (penultimate, and `layer` flattened), the target, and other sources. ratios: rows a
    feature; 1.33 is the paper's for VGG-19 (33,333 rows of 25,088 features). Each of `splits` draws thirds and subsets anew.
    Unregularised least squares has test variance sigma^2 (1 + p / (n - p - 1)) for n rows of p features, so that its error
    peaks at n = p if that is what fails, and a ridge, chosen within the rows, has no peak. Source: section 4.2, Tables 4, 5;
    Hastie et al. 2022, "Surprises in high-dimensional ridgeless least squares interpolation".
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    networks: tuple[Spec, ...] = (Spec.of("victim", "cnn"), Spec.of("victim", "mlp"))
    layer: str = "body.8"
    attack: Spec = Spec.of("attack", "fgsm")
    epsilon: float = 0.05
    inputs: int = 10_000
    splits: int = 5
    exact: int = 500
    ratios: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.33, 2.0, 3.0, 5.0, 8.0)

    def run(self, *, dataset: Dataset, networks: Sequence[Network], attack: Attack) -> Tables:
        """Tables: setting, sources (width, rank, own detector), whole (all rows), sweep (means over splits), each (split)."""
        data = dataset.split("test")
        data = data[torch.arange(min(self.inputs, len(data)), device=data.y.device)]
        ball, named = Ball("linf", self.epsilon), list(zip(map(label, self.networks), networks, strict=True))
        subjects = [
            observed(name, network, data, attack=attack, ball=ball) for name, network in steps(named, "attacking")
        ]
        first, target, *others = subjects
        flattened = _flattened(first, data.x, self.layer)
        sources = [(first.name, first.embeddings), (f"{first.name} {self.layer}", flattened)]
        sources += [(other.name, other.embeddings) for other in others]
        every: list[Row] = []
        known: list[Row] = []
        for split in steps(range(self.splits), "subsets"):
            thirds = Thirds.of(len(data), split, data.y.device)
            plane = detector(target.embeddings, thirds)
            known.append(_own(target.name, target.embeddings, thirds))
            for name, embeddings in sources:
                known.append(_own(name, embeddings, thirds))
                rows = _Rows(name, embeddings, target.embeddings, thirds, plane, self.exact)
                every += [{"split": split} | row for row in rows.all(self.ratios)]
        return {
            "setting": [
                {"dataset": label(self.dataset), "inputs": len(data), "splits": self.splits, "target": target.name}
            ],
            "sources": _averaged(known, ("source",)),
            "whole": _averaged([row for row in every if row["ratio"] is None], ("source", "map")),
            "sweep": _averaged([row for row in every if row["ratio"] is not None], ("source", "map", "ratio")),
            "each": [row for row in every if row["ratio"] is not None],
        }


@dataclass(frozen=True, eq=False)
class _Rows:
    """A source's and the target's rows of one split, and the target's detector."""

    name: str
    source: Embeddings
    target: Embeddings
    thirds: Thirds
    plane: Hyperplane
    exact: int

    def all(self, ratios: Sequence[float]) -> Iterator[Row]:
        """Maps from subsets with so many rows a feature, where there are so many, and from all rows (ratio None)."""
        width, available = self.source.clean.shape[1], len(self.thirds.mapping)
        for ratio in (*ratios, None):
            images = available if ratio is None else round(ratio * width / 2)
            if 4 <= images <= available:
                yield from self._learned(images, ratio)

    def _learned(self, images: int, ratio: float | None) -> Iterator[Row]:
        some, held_out = self.thirds.mapping[:images], self.thirds.held_out
        rows, targets = self.source[some].both, self.target[some].both
        path = RidgePath.of(rows)
        (chosen,) = chosen_ridge(rows, [targets], fitting_rows(images).to(rows.device))
        seen, truth = self.source[held_out[: self.exact]].both, self.target[held_out[: self.exact]].both
        for name, ridge, learned in zip(MAPS, (0.0, chosen), path.maps(targets, (0.0, chosen)), strict=True):
            found = detection(through(self.plane, learned), self.source[held_out])
            yield {
                "source": self.name,
                "map": name,
                "ratio": ratio,
                "rows": len(rows),
                "width": rows.shape[1],
                "rank": path.rank,
                "ridge": ridge,
                "fitted_r2": explained_share(learned(rows), targets),
                "r2": explained_share(learned(seen), truth),
                "auroc": found["auroc"],
            }


def _flattened(subject: Subject, x: Tensor, layer: str) -> Embeddings:
    """A layer of a network, flattened, for clean and adversarial inputs."""
    network = cast("nn.Module", subject.network)
    clean, adversarial = (all_activations(network, inputs, [layer])[0].double() for inputs in (x, subject.attacked))
    return Embeddings(clean, adversarial)


def _own(name: str, embeddings: Embeddings, thirds: Thirds) -> Row:
    """What an embedding's own detector makes of it, and in how many directions it varies."""
    plane, held_out = detector(embeddings, thirds), embeddings[thirds.held_out]
    rank = RidgePath.of(embeddings[thirds.mapping].both).rank
    own = auroc(plane(held_out.clean), plane(held_out.adversarial))
    return {"source": name, "width": embeddings.clean.shape[1], "rank": rank, "auroc": own}


def _averaged(rows: Sequence[Row], names: tuple[str, ...]) -> list[Row]:
    """Means over splits of equal names, and the lowest and highest R^2 and AUROC among them."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    found = []
    for key, members in groups.items():
        numbers = [name for name, value in members[0].items() if isinstance(value, int | float) and name not in names]
        means = {name: sum(row[name] for row in members) / len(members) for name in numbers if name != "split"}
        ends = {
            f"{name}_{end}": pick(row[name] for row in members)
            for name in ("r2", "auroc")
            if name in means
            for end, pick in (("low", min), ("high", max))
        }
        found.append(dict(zip(names, key, strict=True)) | means | ends)
    return found
