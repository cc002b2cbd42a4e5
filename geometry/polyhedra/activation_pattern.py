"""Activation patterns: which units of a network are on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geometry.polyhedra._network import require_finite, symbols

AT_ONCE = 256


@torch.no_grad()
def activation_pattern(network: nn.Module, x: Tensor, *, packed: bool = False, block: int = AT_ONCE) -> Tensor:
    """The bits of inputs (B, *S) -> (B, h) booleans, in the order in which the units run; the output carries none.

    A unit is 1 iff z > 0, and 0 iff z <= 0; a max-pool has a bit for each value of a window, 1 for the winner. packed:
    eight bits a byte, (B, ceil(h / 8)). Bits are those of the network in its own precision, `block` inputs at a time.
    Raises ValueError for what is not piecewise linear, for a batch-norm in training mode, and for inputs that are not
    finite. Source: Liu et al. 2023, equations (3) and (4).
    """
    parts = []
    for part in torch.split(x, block):
        bits = torch.cat([layer.flatten(1) for layer in layer_patterns(network, part)], 1)
        parts.append(pack(bits) if packed else bits)
    return torch.cat(parts)


@torch.no_grad()
def layer_patterns(network: nn.Module, x: Tensor) -> list[Tensor]:
    """The bits of each ReLU and max-pool for itself, (B, h_i) booleans, in the order in which they run."""
    require_finite(x, "an input")
    found, _ = symbols(network, x)
    if not found:
        raise ValueError("the network has no ReLU and no max-pool: it is affine, and its one cell is the whole space")
    return [one.bits for one in found]


def pack(bits: Tensor) -> Tensor:
    """Booleans (..., h) as bytes (..., ceil(h / 8)), the first bit lowest, zeros behind the last."""
    bits = torch.nn.functional.pad(bits.to(torch.uint8), (0, -bits.shape[-1] % 8))
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return torch.sum(bits.reshape(*bits.shape[:-1], -1, 8) << places, -1, dtype=torch.uint8)


def unpack(packed: Tensor, number: int) -> Tensor:
    """The booleans (..., number) that `pack` made bytes of."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (packed[..., None] >> places & 1).flatten(-2)[..., :number].bool()
