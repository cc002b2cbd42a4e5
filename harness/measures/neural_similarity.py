"""How alike a network's layers and inferior temporal cortex tell images apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from geometry.representations.comparison import COMPARISONS
from geometry.representations.dissimilarity import dissimilarity_matrix
from geometry.representations.layer_choice import layer_choice, layer_matrices
from geometry.representations.noise_ceiling import noise_ceiling
from harness.data import Data
from harness.datasets.brain92 import Brain92
from harness.datasets.brain_volumes import BrainVolumes
from harness.spec import build
from harness.types import Network, Skip, Spec


@dataclass(frozen=True)
class NeuralSimilarity:
    """Similarity of a network's layers with each region of the brain, on images that it was not trained on.

    The images of `stimuli` (brain92, or brain_volumes) are shown at the size and in the channels of the network's data set. The
    layer is chosen on one half of them and compared on the other, both ways round for each of `splits`; the interval is a
    bootstrap over images of `draws`. Beside it stand the mean similarity with single people and their noise ceiling, where
    there are people. Skips networks without layers (remote or plain functions) and data that are no images. Source: Pickard
    et al. 2023, section 3; Schrimpf et al. 2018 for the choice on other images; Nili et al. 2014 for the ceiling.
    """

    stimuli: Spec = Spec.of("dataset", "brain92")
    compare: Literal["pearson", "spearman"] = "pearson"
    splits: int = 10
    draws: int = 300

    def measure(self, network: Network, dataset: Data, /, *, stimuli: Data) -> list[dict[str, Any]] | Skip:
        """A row a region: similarity with low and high, layer, share, people, ceilings, and pixels and each layer on all images."""
        like = dataset.split("test").x
        if not isinstance(network, nn.Module):
            return Skip(f"layers of {type(network).__name__} cannot be read; a torch module is needed")
        if like.ndim != 4:
            return Skip(f"inputs of the shape {tuple(like.shape[1:])} are no images (C, H, W)")
        data: Brain92 | BrainVolumes = build(self.stimuli)
        whole = data.whole()
        try:
            x = shown(whole.x, tuple(like.shape[1:])).to(like)
        except ValueError as error:
            return Skip(str(error))
        layers, left_out = layer_matrices(network, x)
        if not layers:
            return Skip(f"no layer tells the images apart: {next(iter(left_out.values()), 'there is none')}")
        pixels = dissimilarity_matrix(x.flatten(1).cpu(), dtype=torch.float64)
        return list(self._rows(data, layers, pixels, len(left_out)))

    def _rows(
        self, data: Brain92 | BrainVolumes, layers: dict[str, Tensor], pixels: Tensor, left_out: int
    ) -> Iterator[dict[str, Any]]:
        for region in data.regions:
            measured, people = data.matrix(region), data.people(region)
            found = layer_choice(layers, measured, people, splits=self.splits, draws=self.draws, compare=self.compare)
            ceiling = noise_ceiling(people, self.compare) if len(people) > 1 else None
            similar = COMPARISONS[self.compare]
            yield {
                "name": region,
                "value": found.similarity,
                "low": found.low,
                "high": found.high,
                "compare": self.compare,
                "layer": found.layer,
                "share": found.share,
                "people": found.people,
                "ceiling_low": ceiling.lower if ceiling else None,
                "ceiling_high": ceiling.upper if ceiling else None,
                "pixels": float(similar(pixels, measured)),
                "stimuli": len(pixels),
                "left_out": left_out,
                "by_layer": {name: float(similar(matrix, measured)) for name, matrix in layers.items()},
            }


def shown(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images (N, C, H, W) at the size and in the channels of (C', H', W'), on the grid of multiples of 1 / 255.

    Shrunk with antialiasing; colours become their mean, grey is repeated. Raises ValueError for other numbers of channels.
    """
    channels, *size = shape
    if channels not in (1, x.shape[1]) and x.shape[1] != 1:
        raise ValueError(
            f"images of {x.shape[1]} channels cannot be shown to a network of {channels}; 1 or 3 are needed"
        )
    if list(x.shape[2:]) != size:
        x = functional.interpolate(x, tuple(size), mode="bilinear", antialias=True)
    if channels != x.shape[1]:
        x = x.mean(1, keepdim=True) if channels == 1 else x.expand(-1, channels, -1, -1)
    return torch.round(x.clamp(0, 1) * 255) / 255
