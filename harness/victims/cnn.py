"""A small convolutional network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, image_shape, loaded
from harness.victims._training import Recipe, adam


@dataclass(frozen=True)
class CNN:
    """A convolutional network of three layers and a hidden layer, quick on a CPU, for images of 8 pixels or more.

    A 5x5 convolution with stride 2 to `width` channels, 3x3 with stride 2 to twice as many, 3x3, each normalised over
    the batch, and a penultimate layer of `hidden` features. `epochs` passes over the data, at least 400 steps.
    `weights` are a trained network's, read in place of training; `seed` makes another network of the same kind. Raises
    ValueError when the inputs are no images, the loss diverges or weights do not fit.
    """

    width: int = 32
    hidden: int = 128
    epochs: int = 8
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3
    shift: float = 0.0
    flip: bool = False
    weights: Path | None = None
    seed: int = 0

    def fit(self, data: Split, *, training: Training | None = None) -> State:
        """Train, or read the weights."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        recipe = Recipe(optimizer, self.epochs, self.batch_size, shift=self.shift, flip=self.flip)
        return fitted(self._build, data, recipe=recipe, weights=self.weights, title="training cnn", training=training)

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        channels, height, width = image_shape(shape, "cnn")
        if min(height, width) < 8:
            raise ValueError(f"cnn needs images of 8 pixels or more, but they are {height}x{width}; use mlp")
        wide = 2 * self.width
        layers = [
            *_convolution(channels, self.width, kernel=5, stride=2),
            *_convolution(self.width, wide, kernel=3, stride=2),
            *_convolution(wide, wide, kernel=3),
        ]
        flat = wide * -(-height // 4) * -(-width // 4)
        last = (nn.Flatten(), nn.Dropout(self.dropout), nn.Linear(flat, self.hidden), nn.ReLU())
        body = nn.Sequential(*layers, *last)
        return Classifier(body, nn.Linear(self.hidden, num_classes), shape=shape)


def _convolution(before: int, after: int, *, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """Convolution, batch normalisation, ReLU: (B, before, H, W) -> (B, after, ceil(H / stride), ceil(W / stride))."""
    convolution = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(after), nn.ReLU()
