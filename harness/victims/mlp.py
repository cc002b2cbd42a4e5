"""A multilayer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, flat_size, loaded
from harness.victims._training import Recipe, adam


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron of `depth` hidden layers with ReLU, for inputs of any shape.

    The penultimate layer has `width` features. `epochs` passes over the data, at least 400 steps. `weights` are a
    trained network's, read in place of training; `seed` makes another network of the same kind. Raises ValueError when
    the loss diverges or weights do not fit.
    """

    width: int = 256
    depth: int = 2
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    weights: Path | None = None
    seed: int = 0

    def fit(self, data: Split, *, training: Training | None = None) -> State:
        """Train, or read the weights."""
        recipe = Recipe(adam(self.learning_rate, self.weight_decay), self.epochs, self.batch_size)
        return fitted(self._build, data, recipe=recipe, weights=self.weights, title="training mlp", training=training)

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        widths = [flat_size(shape)] + [self.width] * self.depth
        layers = [layer for i in range(self.depth) for layer in (nn.Linear(widths[i], widths[i + 1]), nn.ReLU())]
        return Classifier(nn.Sequential(nn.Flatten(), *layers), nn.Linear(widths[-1], num_classes), shape=shape)
