"""Two convolutions and a linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, image_shape, loaded
from harness.victims._training import Recipe, adam


@dataclass(frozen=True)
class SmallCNN:
    """Two 3x3 convolutions to `width` and twice as many channels, each pooled by two before its ReLU, and a linear layer.

    `epochs` passes over the data, at least 400 steps. `weights` are a trained network's, read in place of training; `seed`
    makes another network of the same kind. Raises ValueError when the inputs are no images of 4 pixels or more, the loss
    diverges or weights do not fit. Source: Mahler et al. 2024, section 3.2, for images of 128 pixels.
    """

    width: int = 12
    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    weights: Path | None = None
    seed: int = 0

    def fit(self, data: Split, *, training: Training | None = None) -> State:
        """Train, or read the weights."""
        recipe = Recipe(adam(self.learning_rate, self.weight_decay), self.epochs, self.batch_size)
        return fitted(
            self._build, data, recipe=recipe, weights=self.weights, title="training small_cnn", training=training
        )

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        channels, height, width = image_shape(shape, "small_cnn")
        if min(height, width) < 4:
            raise ValueError(f"small_cnn needs images of 4 pixels or more, but they are {height}x{width}; use mlp")
        layers = (*_pooled(channels, self.width), *_pooled(self.width, 2 * self.width), nn.Flatten())
        flat = 2 * self.width * (height // 4) * (width // 4)
        return Classifier(nn.Sequential(*layers), nn.Linear(flat, num_classes), shape=shape)


def _pooled(before: int, after: int) -> tuple[nn.Module, ...]:
    """Convolution, maximum over 2x2, ReLU: (B, before, H, W) -> (B, after, H // 2, W // 2)."""
    return nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()
