"""Segments cut by the layers of a network: a unit's breakpoint lies where its pre-activation, linear between two points, is 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geometry.polyhedra._complex import TOLERANCE, Floats, Indices, Mask
from geometry.polyhedra._subdivision import Layer


@dataclass(frozen=True, eq=False)
class Flips:
    """Units whose bit changes on segments, ordered by segment and place; and the bits (B, h) where each segment begins."""

    segment: Indices
    place: Floats
    unit: Indices
    start: Mask


@dataclass(frozen=True, eq=False)
class _Points:
    """Points on segments, in order: where, and what one layer has there; above and below are its signs, both false near 0."""

    segment: Indices
    place: Floats
    heights: Floats
    above: Mask
    below: Mask


def flips(layers: Sequence[Layer], a: Floats, b: Floats) -> Flips:
    """Every flip of every hidden unit on the segments from a to b, (B, d) each; places are in [0, 1]."""
    segment = np.repeat(np.arange(len(a)), 2)
    place = np.tile([0.0, 1.0], len(a))
    activations = np.stack([a, b], axis=1).reshape(2 * len(a), a.shape[1])
    found, starts, units = [], [], 0
    for weight, bias in layers:
        near = TOLERANCE * np.sqrt(np.einsum("ij,ij->i", activations, activations) + 1)
        heights = activations @ weight.T
        heights += bias
        points = _with_breakpoints(_signed(segment, place, heights, near), near)
        segment, place, activations = points.segment, points.place, points.heights
        piece = np.flatnonzero((segment[1:] == segment[:-1]) & (place[1:] - place[:-1] > TOLERANCE))
        bits = points.above[piece] | points.above[piece + 1]
        starts.append(bits[np.searchsorted(segment[piece], np.arange(len(a)))])
        before, unit = _where((bits[1:] ^ bits[:-1]) & (segment[piece[1:]] == segment[piece[:-1]])[:, None])
        end = piece[before + 1]
        found.append((segment[end], place[end], unit + units))
        units += len(bias)
        np.maximum(activations, 0, out=activations)
    segment, place, unit = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((place, segment))
    return Flips(segment[order], place[order], unit[order], start=np.concatenate(starts, axis=1))


def scaled(layers: Sequence[Layer]) -> list[Layer]:
    """The same hidden layers with pre-activations divided by the norm of their unit's weights and bias."""
    found: list[Layer] = []
    norms = np.ones(layers[0][0].shape[1])
    for weight, bias in layers:
        weight = weight * norms
        norms = np.sqrt(np.square(weight).sum(1) + np.square(bias))
        norms[norms == 0] = 1.0
        found.append((weight / norms[:, None], bias / norms))
    return found


def _signed(segment: Indices, place: Floats, heights: Floats, near: Floats) -> _Points:
    return _Points(segment, place, heights, heights > near[:, None], heights < -near[:, None])


def _with_breakpoints(points: _Points, near: Floats) -> _Points:
    """The points, and those between two neighbours at which a unit changes its sign."""
    change = (points.above[:-1] & points.below[1:]) | (points.below[:-1] & points.above[1:])
    change &= (points.segment[1:] == points.segment[:-1])[:, None]
    left, unit = _where(change)
    share = points.heights[left, unit] / (points.heights[left, unit] - points.heights[left + 1, unit])
    order = np.lexsort((share, left))
    left, unit, share = left[order], unit[order], share[order]
    heights = _between(points.heights, left, share)
    heights[np.arange(len(left)), unit] = 0.0
    new = _signed(points.segment[left], _between(points.place, left, share), heights, _between(near, left, share))
    old = np.arange(len(points.place))
    old, added = old + np.searchsorted(left, old), left + 1 + np.arange(len(left))
    pairs = [(getattr(points, field.name), getattr(new, field.name)) for field in fields(_Points)]
    return _Points(*(_interleaved(old, given, added, more) for given, more in pairs))


def _where(mask: Mask) -> tuple[Indices, Indices]:
    """Rows and columns of what is true."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _between(values: Floats, left: Indices, share: Floats) -> Floats:
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    mixed, other = values[left], values[left + 1]
    mixed *= 1 - share
    other *= share
    mixed += other
    return mixed


def _interleaved(old: Indices, values: NDArray[Any], added: Indices, new: NDArray[Any]) -> NDArray[Any]:
    room: NDArray[Any] = np.empty((len(old) + len(added), *values.shape[1:]), values.dtype)
    room[old], room[added] = values, new
    return room
