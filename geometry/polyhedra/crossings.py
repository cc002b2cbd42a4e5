"""The cells along segments between inputs, exactly: where a network's units flip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from geometry.polyhedra._complex import TOLERANCE
from geometry.polyhedra._deep_segments import deep_flips
from geometry.polyhedra._network import Layer, dense_layers, in_double, require_finite
from geometry.polyhedra._segments import Flips, flips, scaled

UNITS_AT_ONCE = 3000  # of segments cut together, so that their points stay in the cache


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where B segments pass from cell to cell, for h units; nearer together than `tolerance` counts as one place.

    number: (B,) of each segment, one less than its cells. segment: (M,) and place: (M,) in (0, 1) of each crossing, in
    order. crossing: (F,) and unit: (F,) of each flip; several units may flip at one crossing. start: (B, h) bits of the
    first cells.
    """

    number: Tensor
    segment: Tensor
    place: Tensor
    crossing: Tensor
    unit: Tensor
    start: Tensor
    tolerance: float

    def patterns(self, segment: int) -> Tensor:
        """The bits of the cells along one segment, in order: (number + 1, h)."""
        first = int(self.number[:segment].sum())
        steps = torch.zeros(int(self.number[segment]) + 1, self.start.shape[1], dtype=torch.int64)
        steps[0] = self.start[segment]
        chosen = self.segment[self.crossing] == segment
        steps[self.crossing[chosen] - first + 1, self.unit[chosen]] = 1
        return steps.cumsum(0) % 2 == 1


def crossings(network: nn.Module, a: Tensor, b: Tensor) -> Crossings:
    """All cells that the segments from a to b (B, *S) pass through, in any piecewise-linear network; exact, in float64.

    Layer by layer: pre-activations are linear between two neighbouring breakpoints, so that no cell is stepped over and no
    linear program solved. Plain networks of linear modules are cut many segments together; all others are read at every
    breakpoint once a layer, in blocks, so that the largest thing in memory is a block of pre-activations. Units are numbered
    as in `activation_pattern`. Raises ValueError for unpaired or infinite ends, a network without units, and a module that
    is not piecewise linear, by name. An exact counterpart of Liu et al. 2023, algorithm 2.
    """
    _check(a, b)
    layers = _plain_layers(network, a)
    if layers is None:
        return _crossings(deep_flips(in_double(network), a, b))
    if not layers:
        raise ValueError("the network has no ReLU and no max-pool: its input space is one cell")
    start, end = (x.detach().cpu().double().flatten(1).numpy() for x in (a, b))
    layers, block = scaled(layers), max(1, UNITS_AT_ONCE // sum(len(bias) for _, bias in layers))
    firsts = range(0, len(start), block)
    parts = [flips(layers, start[first : first + block], end[first : first + block]) for first in firsts]
    whole = Flips(
        segment=np.concatenate([part.segment + first for first, part in zip(firsts, parts, strict=True)]),
        place=np.concatenate([part.place for part in parts]),
        unit=np.concatenate([part.unit for part in parts]),
        start=np.concatenate([part.start for part in parts]),
    )
    return _crossings(whole)


def _plain_layers(network: nn.Module, x: Tensor) -> list[Layer] | None:
    """The hidden layers of a plain network; None for others, and for convolutions, whose matrices would be too large."""
    if any(isinstance(module, _ConvNd) for module in network.modules()):
        return None
    try:
        return dense_layers(network, shape=x.shape[1:])[:-1]
    except ValueError:  # what no way can read is refused when the network is read
        return None


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim < 2 or not len(a):
        raise ValueError(
            f"as many ends as starts (B, *S) are needed, at least one, not {tuple(a.shape)}, {tuple(b.shape)}"
        )
    require_finite(a, "a")
    require_finite(b, "b")


def _crossings(found: Flips) -> Crossings:
    """Flips at one place of one segment are one crossing."""
    new = np.ones(len(found.place), np.bool_)
    new[1:] = (found.segment[1:] != found.segment[:-1]) | (np.diff(found.place) > TOLERANCE)
    segment = found.segment[new]
    return Crossings(
        number=torch.from_numpy(np.bincount(segment, minlength=len(found.start))),
        segment=torch.from_numpy(segment),
        place=torch.from_numpy(found.place[new]),
        crossing=torch.from_numpy(np.cumsum(new) - 1),
        unit=torch.from_numpy(found.unit),
        start=torch.from_numpy(found.start),
        tolerance=TOLERANCE,
    )
