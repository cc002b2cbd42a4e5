"""The small digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from harness.datasets._parts import Pool, chosen
from harness.types import Part, Split

_CLASSES = tuple("0123456789")


@dataclass(frozen=True)
class Digits:
    """Grey images of handwritten digits, 8x8, from scikit-learn: nothing is downloaded.

    x (N, 1, 8, 8) on the grid of multiples of 1/16; 810 train, 269 fit, 359 calibrate and 359 test images. `seed` fixes
    the parts and their order; `classes` keeps some, renumbered in that order. Source: Alpaydin and
    Kaynak 1998, "Optical recognition of handwritten digits", test half.
    """

    seed: int = 0
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        chosen("digits", _CLASSES, self.classes)

    @property
    def num_classes(self) -> int:
        """Ten, or as many as are kept."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return chosen("digits", _CLASSES, self.classes)

    @property
    def note(self) -> str:
        """Nothing is special about it."""
        return ""

    def files(self) -> tuple[Path, ...]:
        """None: the data are part of scikit-learn."""
        return ()

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return _pool().split(part, self.seed, self.classes)


@lru_cache(maxsize=1)
def _pool() -> Pool:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.as_tensor(images).to(torch.uint8).reshape(-1, 1, 8, 8)
    y = torch.as_tensor(labels).long()
    return Pool(x, y, torch.arange(len(y)), _CLASSES, levels=16)
