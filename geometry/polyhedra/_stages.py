"""What the functions of a network compare with zero, stage by stage: a ReLU its input, a max-pool one value after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geometry.polyhedra._network import Symbols

NOWHERE = -1e30  # in place of -inf beyond a max-pool's border


def comparisons(stage: Symbols) -> range:
    """Their numbers: one of a ReLU; of a max-pool one for each value but the first of a window."""
    return range(1, stage.values.shape[-1]) if stage.function == "max_pool" else range(1)


def compared(values: Tensor, number: int) -> NDArray[np.float64]:
    """Heights (B, units); of a max-pool its value `number` less the largest before it, affine where those before are told apart."""
    if number:
        values = values.clamp_min(NOWHERE)
        values = values[..., number] - values[..., :number].amax(-1)
    heights: NDArray[np.float64] = values.flatten(1).numpy()
    return heights


def scale(heights: NDArray[np.float64]) -> float:
    """The largest height that does not reach beyond a border."""
    sizes = np.abs(heights)
    return float(sizes.max(initial=0.0, where=sizes < -NOWHERE / 2))
