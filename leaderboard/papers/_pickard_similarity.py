"""Networks' dissimilarities beside the brain's on 92 images: every layer, the chosen one, and halves of the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geometry.representations._matrix import pair_vector
from geometry.representations.activations import all_activations, layer_names
from geometry.representations.bootstrap import bootstrap_similarity
from geometry.representations.categorical import categorical_model, category_matrices, weighted_model
from geometry.representations.comparison import pearson_of_pairs, spearman_of_pairs
from geometry.representations.dissimilarity import dissimilarity_matrix

Row = dict[str, Any]

ALIKE = 1e-9  # a correlation distance that is rounding


@dataclass(frozen=True, eq=False)
class Model:
    """Candidate matrices by the names of layers: (N, N) float64; one for baselines. left_out: layers without one, and why."""

    name: str
    layers: Mapping[str, Tensor]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, name: str, network: nn.Module, x: Tensor) -> Model:
        """The correlation distances at each layer of a network; a layer with a silent stimulus has none."""
        names = [layer for layer in layer_names(network) if layer != "features"]
        layers: dict[str, Tensor] = {}
        left_out: dict[str, str] = {}
        for layer in names:
            try:
                (rows,) = all_activations(network, x, [layer])
                matrix = dissimilarity_matrix(rows, dtype=torch.float64)
                if float(matrix.max()) < ALIKE:
                    raise ValueError("all stimuli are alike")
                layers[layer] = matrix
            except ValueError as error:
                left_out[layer] = str(error)
        return cls(name, layers, left_out)


@dataclass(frozen=True, eq=False)
class Brain:
    """Regions' matrices (N, N) and each person's (R, N, N) by name, R of 0 where there are none, and the categories (N,)."""

    regions: Mapping[str, Tensor]
    people: Mapping[str, Tensor]
    labels: Tensor


def layer_rows(models: Sequence[Model], brain: Brain) -> Iterator[Row]:
    """Similarity of every layer with every region."""
    for model in models:
        for layer, matrix in model.layers.items():
            for region, measured in brain.regions.items():
                one, two = pair_vector(matrix), pair_vector(measured)
                yield {
                    "model": model.name,
                    "layer": layer,
                    "region": region,
                    "pearson": float(pearson_of_pairs(one, two)),
                    "spearman": float(spearman_of_pairs(one, two)),
                }


def table_2(models: Sequence[Model], brain: Brain, draws: int) -> Iterator[Row]:
    """As the paper: the layer nearest to the categorical model is compared with the region that this model was fitted to."""
    for region, measured in brain.regions.items():
        category = categorical_model(measured, brain.labels)
        yield {"region": region, "model": "categorical", "layer": None} | _interval(category.matrix, measured, draws)
        for model in models:
            layer = best(model, category.matrix)
            yield {"region": region, "model": model.name, "layer": layer} | _interval(
                model.layers[layer], measured, draws
            )


def halves(models: Sequence[Model], brain: Brain, splits: int) -> Iterator[Row]:
    """The layer nearest to a region on one half of the images, compared with it on the other; means over splits.

    people: mean Spearman similarity with each person's matrix, which the noise ceiling is about.
    """
    number = len(brain.labels)
    for region, measured in brain.regions.items():
        people = brain.people[region]
        for model in (None, *models):
            found = []
            for split in range(splits):
                order = torch.randperm(number, generator=torch.Generator().manual_seed(split))
                parts = order[: number // 2], order[number // 2 :]
                found += [_transferred(model, measured, people, brain.labels, a, b) for a, b in (parts, parts[::-1])]
            layers = Counter(row["layer"] for row in found)
            name, times = layers.most_common(1)[0]
            means = {key: _mean([row[key] for row in found]) for key in ("pearson", "spearman", "people")}
            yield {
                "region": region,
                "model": "categorical" if model is None else model.name,
                "layer": name,
                "chosen": times / len(found),
                **means,
                "pearson_sd": float(torch.tensor([row["pearson"] for row in found]).double().std()),
            }


def best(model: Model, target: Tensor) -> str:
    """The layer of the highest Pearson correlation with a matrix."""
    wanted = pair_vector(target)
    found = {layer: float(pearson_of_pairs(pair_vector(m), wanted)) for layer, m in model.layers.items()}
    return max(found, key=lambda layer: found[layer])


def _transferred(
    model: Model | None, measured: Tensor, people: Tensor, labels: Tensor, fit: Tensor, test: Tensor
) -> Row:
    """Chosen (or fitted, for the categorical model: None) on some images, compared on the others."""
    wanted = _some(measured, fit)
    if model is None:
        weights = weighted_model(wanted, list(_some(category_matrices(labels), fit))).weights
        layer, matrix = "", torch.tensordot(weights, category_matrices(labels), 1)
    else:
        chosen = Model(model.name, {name: _some(m, fit) for name, m in model.layers.items()}, {})
        layer = best(chosen, wanted)
        matrix = model.layers[layer]
    own, other = pair_vector(_some(matrix, test)), pair_vector(_some(measured, test))
    persons = [pair_vector(_some(person, test)) for person in people]
    return {
        "layer": layer,
        "pearson": float(pearson_of_pairs(own, other)),
        "spearman": float(spearman_of_pairs(own, other)),
        "people": _mean([float(spearman_of_pairs(own, pairs)) for pairs in persons]),
    }


def _some(matrix: Tensor, rows: Tensor) -> Tensor:
    return matrix[..., rows, :][..., rows]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _interval(matrix: Tensor, measured: Tensor, draws: int) -> Row:
    found = bootstrap_similarity(matrix, measured, pearson_of_pairs, draws=draws)
    return {"pearson": found.estimate, "low": found.low, "high": found.high, "p": found.p}
