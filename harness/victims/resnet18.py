"""The residual network of 18 layers, for small images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from harness.types import Network, Split, State, Training
from harness.victims._classifier import Classifier, Shape, fitted, image_shape, loaded
from harness.victims._training import Recipe, momentum


@dataclass(frozen=True)
class ResNet18:
    """The residual network of 18 layers with a 3x3 stem, for small images such as 32x32; meant for a GPU.

    The penultimate layer has 8 * `width` features. Trained with momentum on images moved by up to `shift` of their
    side, and mirrored with `flip` (right for photographs, wrong for digits). `epochs` passes over the data, at least
    400 steps. `weights` are a trained network's, read in place of training; `seed` makes another network of the same
    kind. Raises ValueError when the inputs are no images, the loss diverges or weights do not fit. Source: He, Zhang,
    Ren and Sun 2016, "Deep residual learning for image recognition", section 4.2 for the stem.
    """

    width: int = 64
    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    shift: float = 0.125
    flip: bool = False
    weights: Path | None = None
    seed: int = 0

    def fit(self, data: Split, *, training: Training | None = None) -> State:
        """Train, or read the weights."""
        optimizer = momentum(self.learning_rate, self.weight_decay)
        recipe = Recipe(optimizer, self.epochs, self.batch_size, shift=self.shift, flip=self.flip)
        return fitted(
            self._build, data, recipe=recipe, weights=self.weights, title="training resnet18", training=training
        )

    def load(self, state: State) -> Network:
        """The network of a state."""
        return loaded(self._build, state)

    def _build(self, shape: Shape, num_classes: int) -> Classifier:
        channels, _, _ = image_shape(shape, "resnet18")
        widths = [self.width * factor for factor in (1, 1, 2, 4, 8)]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [Block(before, after, stride=1 if before == after else 2), Block(after, after)]
        stem = [nn.Conv2d(channels, self.width, 3, padding=1, bias=False), nn.BatchNorm2d(self.width), nn.ReLU()]
        body = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Classifier(body, nn.Linear(widths[-1], num_classes), shape=shape)


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut around them: (B, before, H, W) -> (B, after, H / stride, W / stride)."""

    def __init__(self, before: int, after: int, *, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways, rectified."""
        return functional.relu(cast("Tensor", self.residual(x) + self.shortcut(x)))
