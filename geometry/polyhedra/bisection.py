"""The cells along one segment by bisection: the paper's way, repaired, to check `crossings` with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geometry.polyhedra._complex import Floats, Mask
from geometry.polyhedra._network import dense_layers
from geometry.polyhedra._subdivision import Layer


@dataclass(frozen=True, eq=False)
class Bisection:
    """Cells met on a segment, a lower bound: places (M,) in [0, 1], and the bits (M, h) there, the first at the start.

    Neighbours in the list differ in one bit, or lie closer than `tolerance` together.
    """

    places: Tensor
    patterns: Tensor
    tolerance: float

    def __len__(self) -> int:
        return len(self.places)


def bisection(network: nn.Module, a: Tensor, b: Tensor, *, tolerance: float = 1e-9) -> Bisection:
    """Cells on the segment from a to b (*S): halve towards the last one until the patterns are one bit apart.

    Liu et al. 2023, algorithm 2, with the right end set back after each step, with equal or neighbouring ends taken as
    such, and with an end where units flip together: there the halving stops at the tolerance. It steps over a unit that
    flips and flips back. Raises ValueError for unpaired ends and for a network that is no plain ReLU network.
    """
    if a.shape != b.shape:
        raise ValueError(f"both ends must have one shape, not {tuple(a.shape)} and {tuple(b.shape)}")
    if not 0 < tolerance < 1:
        raise ValueError(f"the tolerance is a share of the segment, between 0 and 1, not {tolerance}")
    layers = dense_layers(network, shape=a.shape)[:-1]
    start, end = (x.detach().cpu().double().flatten().numpy() for x in (a, b))

    def bits(place: float) -> Mask:
        return _bits(layers, start + place * (end - start))

    places, patterns, last = [0.0], [bits(0.0)], bits(1.0)
    while (patterns[-1] != last).any():
        place, pattern = 1.0, last
        while (pattern != patterns[-1]).sum() > 1 and place - places[-1] > tolerance:
            middle = (places[-1] + place) / 2
            found = bits(middle)
            if (found == patterns[-1]).all():
                places[-1] = middle
            else:
                place, pattern = middle, found
        places.append(place)
        patterns.append(pattern)
    return Bisection(torch.tensor(places, dtype=torch.float64), torch.from_numpy(np.stack(patterns)), tolerance)


def _bits(layers: list[Layer], x: Floats) -> Mask:
    found = []
    for weight, bias in layers:
        x = weight @ x + bias
        found.append(x > 0)
        x = np.maximum(x, 0)
    return np.concatenate(found)
