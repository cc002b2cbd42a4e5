"""Models that remove noise, and the noise of those who differentiate them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

SLACK = 1e-3  # by which values may leave the box, in rounding


class Model(Protocol):
    """A model that finds the noise in images counted in [-1, 1] of which a share is kept: (B, *S) -> (B, *S)."""

    def noise(self, x: Tensor, kept: float, /) -> Tensor: ...


def modelled(model: object, part: str) -> Model:
    """The model; raises TypeError for a manifold that removes no noise."""
    if not callable(getattr(model, "noise", None)):
        raise TypeError(f"{part} needs a model that finds noise, such as diffusion, not {type(model).__name__}")
    return cast("Model", model)


def require_inputs(x: Tensor, model: object, part: str) -> None:
    """Raises ValueError for inputs of another shape than the model's, and for values outside [0, 1] and nan."""
    shape = tuple(getattr(model, "shape", x.shape[1:]))
    if tuple(x.shape[1:]) != shape:
        raise ValueError(
            f"{part}'s model is one of inputs {shape}, not {tuple(x.shape[1:])}; resize them, or give a model of such inputs"
        )
    if len(x) and not (float(x.detach().min()) >= -SLACK and float(x.detach().max()) <= 1 + SLACK):
        low, high = float(x.detach().min()), float(x.detach().max())
        raise ValueError(
            f"{part} takes values in [0, 1], not from {low:.4g} to {high:.4g}; divide grey levels by the largest"
        )


@dataclass(frozen=True)
class SameDraws:
    """Draws that are the same for every one of `number` inputs, for surrogates, which are given none."""

    number: int
    name: str = "surrogate"

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        return torch.rand(shape, generator=self._generator(draw)).expand(self.number, *shape)

    def normal(self, *shape: int, draw: int = 0) -> Tensor:
        return torch.randn(shape, generator=self._generator(draw)).expand(self.number, *shape)

    def integers(self, high: int, *shape: int, draw: int = 0) -> Tensor:
        return torch.randint(high, shape, generator=self._generator(draw)).expand(self.number, *shape)

    def stream(self, name: str | int) -> SameDraws:
        return SameDraws(self.number, f"{self.name}/{name}")

    def __getitem__(self, rows: Tensor) -> SameDraws:
        return SameDraws(int(rows.sum()) if rows.dtype == torch.bool else len(rows), self.name)

    def _generator(self, draw: int) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{self.name} {draw}".encode()))
