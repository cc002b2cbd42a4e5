"""What the functions of a network compare with zero, stage by stage: a ReLU its input, a max-pool one value after another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geometry.polyhedra._network import Symbols

NOWHERE = -1e30  # in place of -inf beyond a max-pool's border


def comparisons(stage: Symbols) -> range:
    """Their numbers: one of a ReLU; of a max-pool one for each value but the first of a window."""
    return range(1, stage.values.shape[-1]) if stage.function == "max_pool" else range(1)


def compared(values: Tensor, number: int) -> Tensor:
    """Heights (B, units); of a max-pool its value `number` less the largest before it, affine where those before are told apart."""
    if number:
        values = values.clamp_min(NOWHERE)
        values = values[..., number] - values[..., :number].amax(-1)
    return values.flatten(1)


def scale(heights: Tensor) -> float:
    """The largest height that does not reach beyond a border."""
    sizes = heights.abs()
    return float(torch.where(sizes < -NOWHERE / 2, sizes, 0.0).max())


def beside(network: nn.Module, x: Tensor) -> Tensor:
    """The values in float64, on the device of the network's parameters."""
    parameter = next(network.parameters(), x)
    return x.detach().to(parameter.device, torch.float64)
