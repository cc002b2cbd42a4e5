"""A user's own images, one folder a class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from harness import progress
from harness.datasets._files import Stamp, stamps
from harness.datasets._parts import Pool
from harness.types import Part, Split

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class ImageFolder:
    """Your own images: one sub-folder a class, cut to squares of `size` pixels.

    x (N, 3, size, size) on the grid of multiples of 1/255: the middle square of each image, resized (bilinear,
    antialiased), in colour. Classes are the sub-folders in alphabetical order; images are found at any depth below
    them. 45 % become train, 15 % fit, 20 % calibrate and 20 % test (fit and calibrate at most 5,000, test at most
    10,000), by `seed`.
    Raises FileNotFoundError or ValueError.
    """

    path: Path
    size: int = 32
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """The number of sub-folders with images."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the sub-folders, in order."""
        folder = self._folder()
        return tuple(sorted({path.relative_to(folder).parts[0] for path in self.files()}))

    @property
    def note(self) -> str:
        """Nothing that the harness knows of."""
        return ""

    def files(self) -> tuple[Path, ...]:
        """All image files in the sub-folders, in order."""
        folder = self._folder()
        found = sorted(path for path in folder.glob("*/**/*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        if len({path.relative_to(folder).parts[0] for path in found}) < 2:
            raise ValueError(
                f"{folder} has {len(found)} images in fewer than two sub-folders; expected one sub-folder a class, "
                f"with images ({', '.join(_SUFFIXES)})"
            )
        return tuple(found)

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        if self.size < 1:
            raise ValueError(f"size is {self.size}; expected the side of the images in pixels, at least 1")
        return _pool(self._folder(), stamps(self.files()), self.size).split(part, self.seed)

    def _folder(self) -> Path:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; image_folder expects one with a sub-folder a class")
        return folder


@lru_cache(maxsize=2)
def _pool(folder: Path, stamped: tuple[Stamp, ...], size: int) -> Pool:
    names = [path.relative_to(folder).parts[0] for path, _, _ in stamped]
    classes = tuple(sorted(set(names)))
    x = torch.empty(len(stamped), 3, size, size, dtype=torch.uint8)
    for i, (path, _, _) in enumerate(progress.steps(stamped, f"reading {folder.name}")):
        x[i] = _image(path, size)
    y = torch.tensor([classes.index(name) for name in names])
    return Pool(x, y, torch.arange(len(y)), classes)


def _image(path: Path, size: int) -> Tensor:
    """The middle square of an image: (3, size, size) uint8."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); mend or remove it") from None
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)
