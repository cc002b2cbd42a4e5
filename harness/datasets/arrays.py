"""A user's own arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from harness.datasets._files import Stamp, stamps
from harness.datasets._npz import read_npz
from harness.datasets._parts import Pool
from harness.types import Part, Split


@dataclass(frozen=True)
class Arrays:
    """Your own inputs and labels, from an .npz or .safetensors file of x and y.

    x (N, *S): uint8, or float in [0, 1]; images are (N, H, W) or channels first (N, C, H, W). y (N,): integers from 0.
    45 % become train, 15 % fit, 20 % calibrate and 20 % test (fit and calibrate at most 5,000, test at most 10,000), by
    `seed`. The grid is 1/255 when all values lie on it, else there is none. Raises FileNotFoundError or ValueError.
    """

    path: Path
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """The largest label, plus one."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels as text."""
        return self._pool().class_names

    @property
    def note(self) -> str:
        """Nothing that the harness knows of."""
        return ""

    def files(self) -> tuple[Path, ...]:
        """The one file."""
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path}; arrays expects the path of an .npz or .safetensors file of x and y"
            )
        return (path,)

    def split(self, part: Part, /) -> Split:
        """One of the four parts."""
        return self._pool().split(part, self.seed)

    def _pool(self) -> Pool:
        return _pool(stamps(self.files()))


@lru_cache(maxsize=4)
def _pool(stamped: tuple[Stamp, ...]) -> Pool:
    path = stamped[0][0]
    x, y = _read(path)
    try:
        _check_labels(x, y)
        x, levels = _on_grid(_with_channel(x))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    names = tuple(str(label) for label in range(int(y.max()) + 1))
    return Pool(x, y.long(), torch.arange(len(y)), names, levels)


def _read(path: Path) -> list[Tensor]:
    if path.suffix == ".npz":
        return read_npz(path, ("x", "y"))
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} ends with '{path.suffix}'; expected an .npz or a .safetensors file of x and y")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error}); expected tensors x and y") from None
    if not {"x", "y"} <= set(tensors):
        raise ValueError(f"{path} holds the tensors {', '.join(tensors) or 'none'}; expected x and y")
    return [tensors["x"], tensors["y"]]


def _check_labels(x: Tensor, y: Tensor) -> None:
    if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"y is {y.dtype} of shape {tuple(y.shape)}; expected integers of shape (N,)")
    if x.ndim < 2 or len(x) != len(y):
        raise ValueError(
            f"x has the shape {tuple(x.shape)} and y {tuple(y.shape)}; expected (N, ...) and (N,) with the same N"
        )
    if len(y) and int(y.min()) < 0:
        raise ValueError(f"the smallest label is {int(y.min())}; expected labels from 0")
    if not len(y) or bool((y == y[0]).all()):
        raise ValueError(f"y holds {min(len(y), 1)} class in {len(y)} labels; expected at least two classes")


def _with_channel(x: Tensor) -> Tensor:
    """Images (N, H, W) get a channel; channels last are refused, for they cannot be told from the data later."""
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        raise ValueError(
            f"x has the shape {tuple(x.shape)}; expected channels first (N, C, H, W): use x.transpose(0, 3, 1, 2)"
        )
    return x


def _on_grid(x: Tensor) -> tuple[Tensor, int | None]:
    """The inputs as uint8 and 255 when all lie on multiples of 1/255, else as float32 and None."""
    if x.dtype == torch.uint8:
        return x, 255
    if not x.is_floating_point():
        raise ValueError(f"x is {x.dtype}; expected uint8, or float in [0, 1]")
    if not (torch.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"x ranges from {float(x.min()):g} to {float(x.max()):g}; expected finite values in [0, 1]: rescale it"
        )
    x = x.float()
    scaled = (x * 255).round_()
    if torch.allclose(scaled / 255, x, rtol=0, atol=1e-6):
        return scaled.to(torch.uint8), 255
    return x, None
