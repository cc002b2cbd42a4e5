"""The plain convolutional network of 19 layers, for small images."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, image_shape, loaded
from harness.victims._foreign import Adapt
from harness.victims._training import Recipe, adam

_BLOCKS = ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4))  # times `width`, number of convolutions


@dataclass(frozen=True)
class VGG19:
    """VGG-19 for small images: sixteen 3x3 convolutions in five blocks, normalised over the batch, and one linear layer.

    The published network has `width` 64 and two more layers of 4,096 units, which small images do not need. Each block
    ends with the maximum over 2x2 where there are so many pixels; the penultimate layer has 8 * `width` features for each
    pixel that is left: one for images up to 63 pixels. Images are resized to `size`, if it is given. `epochs` passes over the
    data, at least 400 steps. `weights` are a trained network's, read in place of training; `seed` makes another network of the
    same kind. Raises ValueError when the inputs are no images, the loss diverges or weights do not fit. Source: Simonyan
    and Zisserman 2015, "Very deep convolutional networks for large-scale image recognition", configuration E.
    """

    width: int = 16
    size: int | None = None
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    shift: float = 0.0
    flip: bool = False
    weights: Path | None = None
    seed: int = 0

    def fit(self, data: Split, *, training: Training | None = None) -> State:
        """Train, or read the weights."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        recipe = Recipe(optimizer, self.epochs, self.batch_size, shift=self.shift, flip=self.flip)
        return fitted(self._build, data, recipe=recipe, weights=self.weights, title="training vgg19", training=training)

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        channels, height, width = image_shape(shape, "vgg19")
        sides = [height, width] if self.size is None else [self.size, self.size]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (factor, convolutions) in enumerate(_BLOCKS, 1):
            layers[f"block{number}"] = _block(channels, factor * self.width, convolutions)
            channels = factor * self.width
            if min(sides) > 1:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
                sides = [side // 2 for side in sides]
        layers["flatten"] = nn.Flatten()
        adapt = None if self.size is None else Adapt(self.size)
        head = nn.Linear(channels * sides[0] * sides[1], num_classes)
        return Classifier(nn.Sequential(layers), head, shape=shape, adapt=adapt)


def _block(before: int, after: int, convolutions: int) -> nn.Sequential:
    """Convolutions of 3x3, each followed by normalisation and ReLU: (B, before, H, W) -> (B, after, H, W)."""
    layers: list[nn.Module] = []
    for number in range(convolutions):
        first = before if number == 0 else after
        layers += [nn.Conv2d(first, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)
