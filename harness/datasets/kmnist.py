"""Kuzushiji-MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.datasets import _mnist_like
from harness.datasets._parts import Pool, chosen
from harness.types import Part, Split

_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@dataclass(frozen=True)
class KMNIST:
    """Grey images of ten handwritten hiragana, 28x28 (Kuzushiji-MNIST).

    x (N, 1, 28, 28) on the grid of multiples of 1/255; 50,000 train, 5,000 fit, 5,000 calibrate and the published
    10,000 test images. `seed` fixes the parts and their order; `classes` keeps some, renumbered in that order. Raises
    FileNotFoundError when it is nowhere to be had. Source: Clanuwat et al. 2018, "Deep learning for classical Japanese
    literature".
    """

    seed: int = 0
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        chosen("kmnist", _CLASSES, self.classes)

    @property
    def num_classes(self) -> int:
        """Ten, or as many as are kept."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return chosen("kmnist", _CLASSES, self.classes)

    @property
    def note(self) -> str:
        """What is special about the copy that was found, "" if nothing is."""
        return self._pool().note

    def files(self) -> tuple[Path, ...]:
        """The files found, or downloaded."""
        return _mnist_like.files("KMNIST")

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return self._pool().split(part, self.seed, self.classes)

    def _pool(self) -> Pool:
        return _mnist_like.pool("KMNIST", _CLASSES)
