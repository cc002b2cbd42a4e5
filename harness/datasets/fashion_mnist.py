"""Fashion-MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.datasets import _mnist_like
from harness.datasets._parts import Pool, chosen
from harness.types import Part, Split

_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@dataclass(frozen=True)
class FashionMNIST:
    """Grey images of ten kinds of clothing, 28x28 (Fashion-MNIST).

    x (N, 1, 28, 28) on the grid of multiples of 1/255; 50,000 train, 5,000 fit, 5,000 calibrate and the published
    10,000 test images. `seed` fixes the parts and their order; `classes` keeps some, renumbered in that order. Raises
    FileNotFoundError when it is nowhere to be had. Source: Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a novel image
    dataset for benchmarking machine learning algorithms".
    """

    seed: int = 0
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        chosen("fashion_mnist", _CLASSES, self.classes)

    @property
    def num_classes(self) -> int:
        """Ten, or as many as are kept."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return chosen("fashion_mnist", _CLASSES, self.classes)

    @property
    def note(self) -> str:
        """What is special about the copy that was found, "" if nothing is."""
        return self._pool().note

    def files(self) -> tuple[Path, ...]:
        """The files found, or downloaded."""
        return _mnist_like.files("FashionMNIST")

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return self._pool().split(part, self.seed, self.classes)

    def _pool(self) -> Pool:
        return _mnist_like.pool("FashionMNIST", _CLASSES)
