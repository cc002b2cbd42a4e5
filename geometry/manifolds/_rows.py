"""Inputs of any shape as rows of numbers, checked, and back."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from math import isfinite, prod
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

State = dict[str, Tensor]
Part = TypeVar("Part")


class Data(Protocol):
    """What a manifold is fitted on: inputs x (N, *S)."""

    @property
    def x(self) -> Tensor: ...


def rows(x: Tensor, shape: tuple[int, ...], *, dtype: torch.dtype | None = None) -> Tensor:
    """Inputs (B, *shape) as (B, D), in dtype, or in their own where that is float32 or float64, else in float32.

    Raises ValueError for another shape, for numbers that are no floats, and for nan or infinity.
    """
    if tuple(x.shape[1:]) != tuple(shape) or x.ndim == 0:
        raise ValueError(f"the manifold lies among inputs of shape (B, {_listed(shape)}), not {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"inputs are floating point numbers, not {x.dtype}; convert them with x.float()")
    if not bool(x.isfinite().all()):
        raise ValueError(
            f"inputs are finite, but {int((~x.isfinite()).sum())} of {x.numel()} numbers are nan or infinite"
        )
    wanted = dtype or (x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32)
    return x.reshape(len(x), prod(shape)).to(wanted)


def like(found: Tensor, x: Tensor) -> Tensor:
    """Rows (B, D) in the shape and type of the inputs (B, *S) that they came from."""
    return found.reshape(x.shape).to(x.dtype)


def lengths(offsets: Tensor, x: Tensor) -> Tensor:
    """Euclidean lengths (B,) of rows (B, D), in the type of the inputs that they came from; the gradient at 0 is 0."""
    found: Tensor = torch.linalg.vector_norm(offsets, dim=1)
    return found.to(x.dtype)


def points(data: Data, *, least: int = 2) -> Tensor:
    """The inputs of a data set as (N, D) in float64; raises ValueError for fewer than `least` and for what `rows` refuses."""
    x = data.x
    if len(x) < least:
        raise ValueError(f"a manifold is fitted on {least} points at least, but {len(x)} were given")
    return rows(x.detach(), tuple(x.shape[1:]), dtype=torch.float64)


def shape_tensor(x: Tensor) -> Tensor:
    """The shape S of inputs (N, *S), to be kept in a state."""
    return torch.tensor(x.shape[1:], dtype=torch.int64)


def on_device(part: Part, device: torch.device) -> Part:
    """A dataclass with its tensors, and those of the dataclasses in it, on a device."""

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device)
        return on_device(value, device) if is_dataclass(value) else value

    return replace(part, **{name: moved(value) for name, value in vars(part).items()})  # type: ignore[type-var]


def require_positive(**quantities: float) -> None:
    """Raise ValueError for a named quantity that is not a positive finite number."""
    for name, value in quantities.items():
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive finite number, not {value}")


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)
