"""The grid of a data set: every input that a system is judged on is a multiple of 1 / levels, inside the ball."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-6
_SHRINK = (1.0, 0.9995, 0.999, 0.995, 0.99, 0.97)


def distance(candidate: Tensor, x: Tensor, norm: str) -> Tensor:
    """Distance of each candidate from its input: (B,) float64.

    linf, l2, l1; l0: number of changed pixels; patch: longer side, in pixels, of the rectangle round the changed ones. A
    pixel is changed if one of its channels is (axis 1, where there are more than two).
    """
    change = (candidate - x).double()
    if norm == "linf":
        return change.flatten(1).abs().amax(1)
    if norm == "l2":
        return change.flatten(1).square().sum(1).sqrt()
    if norm == "l1":
        return change.flatten(1).abs().sum(1)
    changed = (change != 0).any(1) if change.ndim > 2 else change != 0
    if norm == "l0":
        return changed.flatten(1).sum(1).double()
    if norm == "patch":
        return torch.stack([_extent(changed, axis) for axis in range(1, changed.ndim)]).amax(0).double()
    raise ValueError(f"norm is linf, l2, l1, l0 or patch, not '{norm}'")


def _extent(changed: Tensor, axis: int) -> Tensor:
    """From the first changed pixel to the last along an axis of (B, *pixels), both counted; 0 where there is none: (B,)."""
    along = changed[..., None].movedim(axis, 1).flatten(2).any(2).byte()
    first, last = along.argmax(1), along.shape[1] - along.flip(1).argmax(1)
    return (last - first) * along.amax(1)


def inside(candidate: Tensor, x: Tensor, norm: str, epsilon: float) -> Tensor:
    """Whether each candidate lies in the ball (1e-6 relative), in the box and is finite: (B,) bool."""
    flat = candidate.flatten(1)
    box = (torch.isfinite(flat) & (flat >= 0) & (flat <= 1)).all(1)
    return box & (distance(candidate, x, norm) <= epsilon * (1 + TOLERANCE))


def round_inside(candidate: Tensor, x: Tensor, *, norm: str, epsilon: float, levels: int | None) -> Tensor:
    """The candidate on the grid: rounded to nearest where that stays in the ball, else pulled towards x until it does.

    x must lie on the grid; levels None changes nothing. For l0 and patch, which bound where and not how much, rounding
    leads out of no ball, and a candidate outside of it stays outside.
    """
    if levels is None:
        return candidate
    steps = (candidate.clamp(0, 1) - x) * levels
    if norm == "linf":
        most = int(epsilon * levels * (1 + TOLERANCE)) if epsilon < 1 else levels
        return _from_steps(x, steps.round().clamp_(-most, most), levels)
    rounded = _from_steps(x, steps.round(), levels)
    if epsilon == float("inf") or norm in ("l0", "patch"):
        return rounded
    outside = ~inside(rounded, x, norm, epsilon)
    for shrink in _SHRINK[1:]:
        if not outside.any():
            return rounded
        rounded[outside] = _from_steps(x[outside], (steps[outside] * shrink).round(), levels)
        outside = ~inside(rounded, x, norm, epsilon)
    rounded[outside] = _from_steps(x[outside], steps[outside].trunc(), levels)
    return rounded


def _from_steps(x: Tensor, steps: Tensor, levels: int) -> Tensor:
    """x moved by whole steps, exactly on the grid and in the box."""
    return ((x * levels).round() + steps).clamp_(0, levels) / levels


def to_levels(x: Tensor, levels: int | None) -> Tensor:
    """Any input in [0, 1] rounded to the grid."""
    return x if levels is None else (x * levels).round() / levels
