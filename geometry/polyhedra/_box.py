"""A box of inputs: its lower and upper ends, numbers or one for each coordinate."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Box = tuple[float | Tensor, float | Tensor]


def bounds(box: Box, dimensions: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends, (d,) each, in float64; raises ValueError for a box that is empty, infinite or of another size."""
    if len(box) != 2:
        raise ValueError(f"a box is a pair (lower, upper), not {len(box)} values")
    ends = [torch.as_tensor(end).detach().double().cpu().flatten().numpy() for end in box]
    for end in ends:
        if len(end) not in (1, dimensions):
            raise ValueError(
                f"the box has {len(end)} coordinates; the network takes {dimensions}: give as many, or one number"
            )
    lower, upper = (np.broadcast_to(end, (dimensions,)).copy() for end in ends)
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        raise ValueError("the ends of a box must be finite; for the whole space give no box")
    if not (lower < upper).all():
        axis = int(np.argmin(upper - lower))
        raise ValueError(
            f"the box is empty or inverted: coordinate {axis} goes from {lower[axis]} to {upper[axis]}; "
            "every lower end must be below the upper"
        )
    return lower, upper
