"""MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.datasets import _mnist_like
from harness.datasets._parts import Pool, chosen
from harness.types import Part, Split

_CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


@dataclass(frozen=True)
class MNIST:
    """Grey images of handwritten digits, 28x28 (MNIST).

    x (N, 1, 28, 28) on the grid of multiples of 1/255; 50,000 train, 5,000 fit, 5,000 calibrate and the published
    10,000 test images. `seed` fixes the parts and their order; `classes` keeps some, renumbered in that order. Raises
    FileNotFoundError when it is nowhere to be had. Source: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based
    learning applied to document recognition".
    """

    seed: int = 0
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        chosen("mnist", _CLASSES, self.classes)

    @property
    def num_classes(self) -> int:
        """Ten, or as many as are kept."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return chosen("mnist", _CLASSES, self.classes)

    @property
    def note(self) -> str:
        """What is special about the copy that was found, "" if nothing is."""
        return self._pool().note

    def files(self) -> tuple[Path, ...]:
        """The files found, or downloaded."""
        return _mnist_like.files("MNIST")

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return self._pool().split(part, self.seed, self.classes)

    def _pool(self) -> Pool:
        return _mnist_like.pool("MNIST", _CLASSES)
