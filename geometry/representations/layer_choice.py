"""The layer of a network that is nearest to a measured dissimilarity matrix, chosen on some stimuli and judged on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geometry.representations._matrix import pair_indices, require_matrix, require_same_order
from geometry.representations.activations import PENULTIMATE, all_activations, layer_names
from geometry.representations.bootstrap import bca_interval
from geometry.representations.comparison import ranks
from geometry.representations.dissimilarity import dissimilarity_matrix

Compare = Literal["pearson", "spearman"]
ALIKE = 1e-9  # a correlation distance that is rounding


@dataclass(frozen=True)
class LayerChoice:
    """The layer chosen most often and how often, and the similarity on the other half with its interval over stimuli.

    people: the mean similarity of the chosen layers with each person's matrix on the other half; None where there are none.
    """

    layer: str
    share: float
    similarity: float
    low: float
    high: float
    people: float | None


def layer_matrices(network: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Correlation distances (N, N) float64 at each layer for stimuli (N, *S), and the layers without, with the reason.

    Layers count from the first with weights on: what comes before it is the image. Those that do nothing are passed over.
    """
    found: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for layer in _layers(network):
        try:
            (rows,) = all_activations(network, x, [layer])
            matrix = dissimilarity_matrix(rows, dtype=torch.float64)
            if float(matrix.max()) < ALIKE:
                raise ValueError("all stimuli are alike")
            found[layer] = matrix.cpu()
        except ValueError as error:
            left_out[layer] = str(error)
    return found, left_out


def _layers(network: nn.Module) -> list[str]:
    modules = dict(network.named_modules())
    names = [name for name in layer_names(network) if name != PENULTIMATE]
    weighted = [any(True for _ in modules[name].parameters()) for name in names]
    first = weighted.index(True) if True in weighted else 0
    return [name for name in names[first:] if not isinstance(modules[name], nn.Identity | nn.Dropout | nn.Flatten)]


def halves(number: int, splits: int) -> Tensor:
    """Random halves of `number` stimuli, each followed by its other half: (2 * splits, number) bool."""
    found = torch.zeros(splits, number, dtype=torch.bool)
    for split in range(splits):
        order = torch.randperm(number, generator=torch.Generator().manual_seed(split))
        found[split, order[: number // 2]] = True
    return torch.stack([found, ~found], 1).flatten(0, 1)


def layer_choice(
    layers: Mapping[str, Tensor],
    measured: Tensor,
    people: Tensor | None = None,
    *,
    splits: int = 10,
    draws: int = 300,
    compare: Compare = "pearson",
) -> LayerChoice:
    """Choose the layer nearest to `measured` (N, N) on one half of the stimuli and compare it on the other; both ways round.

    layers: matrices (N, N) by name; people (R, N, N): single subjects' matrices. The interval is a bootstrap over stimuli
    (bias-corrected, accelerated) with the halves fixed, so that no stimulus is on both sides, and the choice made anew in
    every draw; ranks are those among a half's pairs, not taken anew. Raises ValueError for what is no dissimilarity matrix,
    for other orders, and without layers.
    """
    if not layers:
        raise ValueError("there is no layer to choose from; give at least one dissimilarity matrix")
    candidates = torch.stack(list(layers.values())).double()
    require_matrix(measured, "the measured matrix")
    require_matrix(candidates, "a layer's matrix")
    require_same_order(candidates, measured)
    number = measured.shape[-1]
    split, generator = halves(number, splits), torch.Generator().manual_seed(0)
    targets = torch.cat([measured[None], measured[None][:0] if people is None else people]).double()
    drawn = torch.randint(number, (draws, number), generator=generator)
    counts = torch.zeros(draws, number, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(drawn.shape).double())
    whole, left_out = torch.ones(1, number, dtype=torch.float64), 1 - torch.eye(number, dtype=torch.float64)
    similarity, chosen = _held_out(candidates, targets, split, torch.cat([whole, left_out, counts]), compare)
    means = similarity.nanmean(0)  # (1 + N + D, 1 + R)
    estimate, sample = float(means[0, 0]), means[1 + number :, 0]
    low, high = bca_interval(estimate, sample[torch.isfinite(sample)], [means[1 : 1 + number, 0]])
    place, times = Counter(chosen[:, 0].tolist()).most_common(1)[0]
    mean = float(means[0, 1:].mean()) if means.shape[1] > 1 else None
    return LayerChoice(list(layers)[place], times / len(split), estimate, low, high, mean)


def _held_out(
    candidates: Tensor, targets: Tensor, split: Tensor, counts: Tensor, compare: Compare
) -> tuple[Tensor, Tensor]:
    """Similarity of the layers chosen on the halves with every target on the others, and their places.

    counts (D, N): how often each stimulus was drawn; the first target is the one that the layer is chosen by. Gives
    (halves, D, targets) and (halves, D).
    """
    found, places = [], []
    for half in split:
        near, _ = _correlations(candidates, targets[:1], half, counts, compare)
        place = near[:, :, 0].nan_to_num(-2.0).argmax(1)
        far, number = _correlations(candidates, targets, ~half, counts, compare)
        found.append(far[torch.arange(number), place])
        places.append(place)
    return torch.stack(found), torch.stack(places)


def _correlations(
    candidates: Tensor, targets: Tensor, half: Tensor, counts: Tensor, compare: Compare
) -> tuple[Tensor, int]:
    """Correlations over the pairs of one half, weighted by how often both were drawn: (D, layers, targets), and D.

    A stimulus drawn twice makes no pair with itself. They are nan where either side does not vary.
    """
    some = half.nonzero()[:, 0]
    row, column = (some[places] for places in pair_indices(len(some)))
    x, y = candidates[:, row, column], targets[:, row, column]
    if compare == "spearman":
        x, y = ranks(x), ranks(y)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    weights = counts[:, row] * counts[:, column]
    weights = weights / weights.sum(1, keepdim=True)
    x_mean, y_mean = weights @ x.T, weights @ y.T
    together = (weights @ (x[:, None] * y[None]).flatten(0, 1).T).view(len(weights), len(x), len(y))
    covariance = together - x_mean[:, :, None] * y_mean[:, None, :]
    x_variance, y_variance = weights @ (x**2).T - x_mean**2, weights @ (y**2).T - y_mean**2
    product = x_variance[:, :, None] * y_variance[:, None, :]
    return torch.where(product > 0, covariance / product.clamp_min(1e-300).sqrt(), torch.nan), len(weights)
