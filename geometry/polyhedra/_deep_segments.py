"""Segments cut by any piecewise-linear network: it is read at all breakpoints once a stage, a block of points at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geometry.polyhedra._complex import TOLERANCE, Floats, Indices
from geometry.polyhedra._network import Symbols, symbols
from geometry.polyhedra._segments import Flips
from geometry.polyhedra._stages import beside, compared, comparisons, scale

VALUES_AT_ONCE = 1 << 24  # pre-activations of the points that a network reads together
NEAR = 1e-11  # heights below this share of the largest of their stage are zero


def deep_flips(network: nn.Module, a: Tensor, b: Tensor) -> Flips:
    """Every flip of every bit on the segments from a to b (B, *S); never more than a block of pre-activations is held."""
    a, b = beside(network, a), beside(network, b)
    with torch.no_grad():
        stages, _ = symbols(network, a[:1])
    if not stages:
        raise ValueError("the network has no ReLU and no max-pool: its input space is one cell")
    segments = _Segments(network, a, b, max(1, VALUES_AT_ONCE // sum(stage.values.numel() for stage in stages)))
    for number, stage in enumerate(stages):
        for comparison in comparisons(stage):
            segments.refine(number, comparison)
    return segments.flips()


class _Segments:
    """Points on segments, in order, between which nothing changes once all stages have been seen to."""

    def __init__(self, network: nn.Module, a: Tensor, b: Tensor, block: int) -> None:
        self.network, self.a, self.b, self.block = network, a, b, block
        self.segment: Indices = np.repeat(np.arange(len(a)), 2)
        self.place: Floats = np.tile([0.0, 1.0], len(a))

    def refine(self, stage: int, comparison: int) -> None:
        """Add the points at which one comparison of a stage changes its sign."""
        segment, place = [self.segment], [self.place]
        for first in range(0, len(self.place) - 1, self.block):
            rows = slice(first, first + self.block + 1)
            heights = compared(self._read(self.segment[rows], self.place[rows])[stage].values, comparison)
            near = NEAR * scale(heights)
            above, below = heights > near, heights < -near
            change = (above[:-1] & below[1:]) | (below[:-1] & above[1:])
            change &= self._tensor(self.segment[rows][1:] == self.segment[rows][:-1])[:, None]
            at, unit = change.nonzero(as_tuple=True)
            share = (heights[at, unit] / (heights[at, unit] - heights[at + 1, unit])).cpu().numpy()
            left = at.cpu().numpy()
            start = self.place[rows][left]
            segment.append(self.segment[rows][left])
            place.append(start + share * (self.place[rows][left + 1] - start))
        self._merge(np.concatenate(segment), np.concatenate(place))

    def _merge(self, segment: Indices, place: Floats) -> None:
        """All points in order; of those nearer together than the tolerance, the first, and always the ends."""
        old = len(self.place)
        inside = (place > TOLERANCE) & (place < 1 - TOLERANCE)
        inside[:old] |= (place[:old] == 0) | (place[:old] == 1)
        segment, place = segment[inside], place[inside]
        order = np.lexsort((place, segment))
        segment, place = segment[order], place[order]
        apart = np.append(True, (np.diff(place) > TOLERANCE) | (segment[1:] != segment[:-1]))
        self.segment, self.place = segment[apart], place[apart]

    def flips(self) -> Flips:
        """What differs between the bits in the middle of neighbouring pieces."""
        piece = np.flatnonzero(self.segment[1:] == self.segment[:-1])
        segment, middle = self.segment[piece], (self.place[piece] + self.place[piece + 1]) / 2
        found, starts = [], []
        for before, rows, bits in self._bits(segment, middle):
            first = np.flatnonzero(np.diff(segment[rows], prepend=-1 if before is None else segment[rows.start - 1]))
            starts.append(bits[self._tensor(first)].cpu())
            change = bits ^ torch.cat([bits[:1] if before is None else before, bits[:-1]])
            change[self._tensor(first)] = False
            row, unit = (index.cpu().numpy() for index in change.nonzero(as_tuple=True))
            found.append((segment[rows][row], self.place[piece[rows][row]], unit))
        at, place, unit = (np.concatenate(column) for column in zip(*found, strict=True))
        return Flips(at, place, unit, start=torch.cat(starts).numpy())

    def _bits(self, segment: Indices, place: Floats) -> Iterator[tuple[Tensor | None, slice, Tensor]]:
        """Blocks of rows: the bits of the row before, the rows, and their bits."""
        before = None
        for first in range(0, len(place), self.block):
            rows = slice(first, min(first + self.block, len(place)))
            stages = self._read(segment[rows], place[rows])
            bits = [
                stage.bits
                if stage.function == "max_pool"
                else (stage.values > NEAR * stage.values.abs().max()).flatten(1)
                for stage in stages
            ]
            joined = torch.cat(bits, 1)
            yield before, rows, joined
            before = joined[-1:]

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.a.device)

    @torch.no_grad()
    def _read(self, segment: Indices, place: Floats) -> list[Symbols]:
        share = self._tensor(place).reshape(-1, *(1,) * (self.a.ndim - 1))
        chosen = self._tensor(segment)
        return symbols(self.network, (1 - share) * self.a[chosen] + share * self.b[chosen])[0]
