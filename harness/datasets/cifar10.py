"""CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from harness.datasets._files import Stamp, find, stamps
from harness.datasets._npz import read_npz
from harness.datasets._parts import Pool, chosen
from harness.types import Part, Split

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_OFFICIAL = 50_000
_FOLDER = "cifar-10-batches-py"
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_JPEG = ("train-jpeg.npz", "test-jpeg.npz")


@dataclass(frozen=True)
class CIFAR10:
    """Colour images of ten kinds of things, 32x32 (CIFAR-10).

    x (N, 3, 32, 32) on the grid of multiples of 1/255; 40,000 train, 5,000 fit, 5,000 calibrate and the published
    10,000 test images. `seed` fixes the parts and their order; `classes` keeps some, renumbered in that order. Read
    from the published batches, or from npz files of JPEG images (jpeg: their bytes end to end, offsets (N + 1), y),
    which `note` tells. Raises FileNotFoundError when it is nowhere to be had. Source: Krizhevsky 2009, "Learning
    multiple layers of features from tiny images".
    """

    seed: int = 0
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        chosen("cifar10", _CLASSES, self.classes)

    @property
    def num_classes(self) -> int:
        """Ten, or as many as are kept."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return chosen("cifar10", _CLASSES, self.classes)

    @property
    def note(self) -> str:
        """What is special about the copy that was found, "" if nothing is."""
        return _note(self.files())

    def files(self) -> tuple[Path, ...]:
        """The files found, or downloaded."""
        expected = f"CIFAR10/{_JPEG[0]} and CIFAR10/{_JPEG[1]}, or the folder {_FOLDER} (alone or in CIFAR10)"
        return find("CIFAR10", _search, expected=expected)

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return _pool(stamps(self.files())).split(part, self.seed, self.classes)


def _search(place: Path) -> tuple[Path, ...]:
    choices = [[place / base / _FOLDER / name for name in _BATCHES] for base in ("", "CIFAR10")]
    choices.append([place / "CIFAR10" / name for name in _JPEG])
    return next((tuple(paths) for paths in choices if all(path.is_file() for path in paths)), ())


def _note(files: tuple[Path, ...]) -> str:
    return "JPEG-recompressed" if files[0].name in _JPEG else ""


@lru_cache(maxsize=2)
def _pool(stamped: tuple[Stamp, ...]) -> Pool:
    files = tuple(path for path, _, _ in stamped)
    halves = [_decoded(path) for path in files] if _note(files) else _published(files[0].parent.parent)
    index = [torch.arange(len(y)) + start for (_, y), start in zip(halves, (0, _OFFICIAL), strict=True)]
    return Pool(
        x=torch.cat([x for x, _ in halves]),
        y=torch.cat([y for _, y in halves]),
        index=torch.cat(index),
        class_names=_CLASSES,
        official_test=len(halves[1][1]),
        note=_note(files),
    )


def _decoded(path: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) uint8 and labels from an npz of JPEG images: 50 microseconds an image."""
    from torchvision.io import ImageReadMode, decode_jpeg

    jpeg, offsets, y = read_npz(path, ("jpeg", "offsets", "y"))
    x = torch.empty(len(y), 3, 32, 32, dtype=torch.uint8)
    ends = offsets.tolist()
    if len(ends) != len(y) + 1:
        raise ValueError(f"{path} holds {len(ends)} offsets for {len(y)} labels; expected one more than labels")
    for i in range(len(y)):
        try:
            x[i].copy_(torch.as_tensor(decode_jpeg(jpeg[ends[i] : ends[i + 1]], mode=ImageReadMode.RGB)))
        except RuntimeError as error:
            raise ValueError(
                f"{path}: image {i} is no JPEG image of 32x32 pixels ({error}); get the file again"
            ) from None
    return x, y.long()


def _published(folder: Path) -> list[tuple[Tensor, Tensor]]:
    """The published batches through torchvision, which checks their checksums before it reads them."""
    from torchvision import datasets

    try:
        halves = [datasets.CIFAR10(folder, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise ValueError(f"{folder / _FOLDER} does not have the published checksums ({error}); get it again") from None
    return [(torch.from_numpy(half.data).permute(0, 3, 1, 2), torch.tensor(half.targets)) for half in halves]
