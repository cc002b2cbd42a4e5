"""Patches: the pixels that one may cover, where it may stand, and the feasible set inside of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.types import Draws

ENDINGS = (".npy", ".png")


@dataclass(frozen=True)
class Patch:
    """Anything in the box where `mask` (B, 1, H, W) bool allows it, x elsewhere."""

    x: Tensor
    epsilon: float
    mask: Tensor

    def project(self, candidate: Tensor) -> Tensor:
        return candidate.copy_(torch.where(self.mask, candidate.clamp_(0, 1), self.x))

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign() * self.mask

    def start(self, draws: Draws) -> Tensor:
        """Uniform values inside the patch."""
        return torch.where(self.mask, draws.uniform(*self.x.shape[1:]).to(self.x), self.x)

    def __getitem__(self, rows: Tensor) -> Patch:
        return Patch(self.x[rows], self.epsilon, self.mask[rows])


@dataclass(frozen=True)
class Places:
    """Where a patch of height x width (None: epsilon) may stand: given, or one of `positions` spread over the image.

    row and column of its upper left corner: None is searched, in equal steps from end to end, rounded down from the half.
    positions: where both are searched a square number, as many rows as columns; in small images places that coincide
    count once. So the places depend on sizes only, and a patch that is larger in both directions has places that hold
    the smaller one's. mask: a file of the pixels allowed, in place of all that.
    """

    height: int | None = None
    width: int | None = None
    row: int | None = None
    column: int | None = None
    positions: int = 16
    mask: Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("height", 1), ("width", 1), ("row", 0), ("column", 0), ("positions", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"a patch was given {name} = {value}; expected at least {least}")
        if self.row is None and self.column is None and isqrt(self.positions) ** 2 != self.positions:
            near = max(1, round(self.positions**0.5)) ** 2
            raise ValueError(
                f"a patch was given positions = {self.positions}; expected a square number, as many rows as columns, "
                f"such as {near}"
            )
        given = [name for name in ("height", "width", "row", "column") if getattr(self, name) is not None]
        if self.mask is not None and given:
            raise ValueError(f"a patch was given a mask and {', '.join(given)}; the mask says it all: leave these out")

    def masks(self, x: Tensor, epsilon: float) -> Tensor:
        """The pixels of each place: (P, 1, H, W) bool. Raises ValueError if the patch does not fit image or budget."""
        if x.ndim != 4:
            raise ValueError(f"a patch lies in images (B, C, H, W), but the inputs are {tuple(x.shape)}")
        if self.mask is not None:
            return self._from_file(x, epsilon)
        size = x.shape[2:]
        sides = [int(epsilon) if side is None else side for side in (self.height, self.width)]
        if max(sides) > epsilon:
            raise ValueError(f"a patch of {_by(sides)} pixels exceeds the side {epsilon:g} that the budget allows")
        if sides[0] > size[0] or sides[1] > size[1]:
            raise ValueError(
                f"a patch of {_by(sides)} pixels is larger than the image of {_by(size)}; give a smaller "
                "epsilon, or height and width"
            )
        tops, lefts = self._corners(sides, size)
        masks = torch.zeros(len(tops), len(lefts), *size, dtype=torch.bool, device=x.device)
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                masks[i, j, top : top + sides[0], left : left + sides[1]] = True
        return masks.view(-1, 1, *size)

    def _corners(self, sides: list[int], size: torch.Size) -> tuple[list[int], list[int]]:
        """The rows and the columns of the upper left corners."""
        both = self.row is None and self.column is None
        number = isqrt(self.positions) if both else self.positions
        found = []
        for name, given, side, whole in zip(("row", "column"), (self.row, self.column), sides, size, strict=True):
            if given is not None and given + side > whole:
                raise ValueError(f"a patch of {_by(sides)} pixels at {name} {given} leaves the image of {_by(size)}")
            found.append(spread(whole - side, number) if given is None else [given])
        return found[0], found[1]

    def _from_file(self, x: Tensor, epsilon: float) -> Tensor:
        allowed = torch.from_numpy(self._read).to(x.device)
        if allowed.shape != x.shape[2:]:
            raise ValueError(f"the mask {self.mask} is {_by(allowed.shape)}, but the images are {_by(x.shape[2:])}")
        extent = [int(line.nonzero().max() - line.nonzero().min()) + 1 for line in (allowed.any(1), allowed.any(0))]
        if max(extent) > epsilon:
            raise ValueError(
                f"the pixels that the mask {self.mask} allows lie in {_by(extent)}, which exceeds the side {epsilon:g} "
                "of the budget"
            )
        return allowed[None, None]

    @cached_property
    def _read(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """The allowed pixels of the mask's file, those that are not zero (black): (H, W) bool."""
        assert self.mask is not None
        if self.mask.suffix.lower() not in ENDINGS:
            raise ValueError(f"the mask {self.mask} is read as {' or '.join(ENDINGS)} only; save it as one of these")
        if self.mask.suffix.lower() == ".npy":
            values = np.load(self.mask, allow_pickle=False)
        else:
            from PIL import Image

            with Image.open(self.mask) as image:
                values = np.asarray(image.convert("L"))
        if values.ndim != 2 or not values.any():
            raise ValueError(
                f"the mask {self.mask} holds {values.shape} values; expected (H, W), some of them not zero"
            )
        return np.asarray(values != 0)


def somewhere(x: Tensor, epsilon: float, draws: Draws) -> Patch:
    """A square patch at one of the sixteen places for each input, at random."""
    masks = Places().masks(x, epsilon)
    return Patch(x, epsilon, masks[draws.integers(len(masks), draw=1).to(x.device)])


def spread(room: int, number: int) -> list[int]:
    """At most `number` places in 0 .. room, in equal steps from end to end; the middle for one."""
    if number == 1:
        return [room // 2]
    return sorted({(2 * i * room + number - 1) // (2 * (number - 1)) for i in range(number)})


def _by(sides: list[int] | torch.Size) -> str:
    return "×".join(str(int(side)) for side in sides)
