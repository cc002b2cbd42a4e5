"""The nearest point of a hyperplane inside the box [0, 1], in linf, l2 and l1 (Croce and Hein 2020b, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

PASSES = 30  # of Newton's steps, at most: they rise to the root and end on its segment; a handful suffice on images


def to_plane(point: Tensor, normal: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The shortest change (B, D) that adds `gap` (B,) to normal . point, inside the box; the largest that there is, if none does.

    Each element moves along the slope by min(room, t) in linf, by min(room, t |slope|) in l2, for the t that the gap
    asks for; in l1 the elements of the largest slopes move to the end of the box, one after the other.
    """
    normal = torch.where(gap[:, None] < 0, -normal, normal)
    gap, slope = gap.abs()[:, None], normal.abs()
    room = torch.where(normal > 0, 1 - point, point)
    moved = _greedy(slope, room, gap) if norm == "l1" else _even(slope, room, gap, slope if norm == "l2" else None)
    return moved.mul_(normal.sign())


def _even(slope: Tensor, room: Tensor, gap: Tensor, pace: Tensor | None) -> Tensor:
    """min(room, t pace) with the least t for which slope . it is the gap; pace None: one for all elements."""
    gain = slope if pace is None else slope * pace
    every = (slope * room).sum(1, keepdim=True)
    gap = torch.minimum(gap, every)
    t = gap / gain.sum(1, keepdim=True).clamp_min_(1e-30)
    for _ in range(PASSES):
        moved = t.expand_as(room) if pace is None else pace * t
        whole = (moved < room).to(room.dtype)
        used = torch.linalg.vecdot(slope, torch.minimum(moved, room)).unsqueeze(1)
        following = t + (gap - used).clamp_min_(0) / torch.linalg.vecdot(gain, whole).unsqueeze(1).clamp_min_(1e-30)
        settled = bool(((following - t <= 1e-6 * t) | (used >= gap * (1 - 1e-6))).all())
        t = following
        if settled:
            break
    return torch.minimum(t.expand_as(room) if pace is None else pace * t, room)


def _greedy(slope: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """All the room of the elements of the largest slopes, until slope . it is the gap."""
    order = slope.argsort(1, descending=True)
    steep, space = slope.gather(1, order), room.gather(1, order)
    before = (steep * space).cumsum(1) - steep * space
    moved = ((gap - before).clamp_min_(0) / steep.clamp_min(1e-30)).minimum(space)
    return torch.zeros_like(room).scatter_(1, order, moved)
