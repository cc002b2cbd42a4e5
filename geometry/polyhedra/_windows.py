"""The windows that a max-pool chooses from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_NAMES = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def windows(x: Tensor, name: str, given: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
    """The values of each window of max_pool1d or max_pool2d, (B, C, *S) -> (B, C, *S', K); -inf beyond the border."""
    options = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
    options |= dict(zip(_NAMES, given, strict=False)) | {key: named[key] for key in _NAMES if key in named}
    axes = int(name[-2])
    kernel, padding, dilation = (_each(options[key], axes) for key in ("kernel_size", "padding", "dilation"))
    stride = _each(options["stride"] or kernel, axes)
    for axis in range(axes):
        size, reach = x.shape[2 + axis], dilation[axis] * (kernel[axis] - 1) + 1
        room = size + 2 * padding[axis] - reach
        steps = room // stride[axis]
        if options["ceil_mode"] and room % stride[axis] and (steps + 1) * stride[axis] < size + padding[axis]:
            steps += 1
        beyond = max(0, steps * stride[axis] + reach - size - padding[axis])
        behind = [0, 0] * (x.ndim - 3 - axis)
        x = functional.pad(x, [*behind, padding[axis], beyond], value=-torch.inf)
        starts = torch.arange(steps + 1, device=x.device)[:, None] * stride[axis]
        places = starts + torch.arange(kernel[axis], device=x.device) * dilation[axis]
        chosen = x.index_select(2 + axis, places.flatten())
        x = chosen.reshape(*x.shape[: 2 + axis], *places.shape, *x.shape[3 + axis :]).movedim(3 + axis, -1)
    return x.flatten(2 + axes)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes if len(value) == 1 else 1)
