"""The nearest points that fool a classifier: coarse candidates first, then ever finer steps around the best."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from scipy.spatial import cKDTree
from torch import Tensor

Score = Callable[[Tensor], Tensor]
Steps = Callable[[Tensor, Tensor], Tensor]  # points (B, D) and steps (K, k) -> points (B, K, D)

_CHUNK = 1 << 16  # points a call of the score
_ROUNDS = 7  # each halves the step
_BISECTIONS = 30


@dataclass(frozen=True, eq=False)
class Found:
    """The nearest fooling points (N, D) and their distances (N,), infinite where there is none (the point is the input)."""

    points: Tensor
    distances: Tensor


def sides_of(score: Score, points: Tensor) -> Tensor:
    """The sides of the decision boundary: -1, 0 or 1 as the score's sign at points (*B, D) -> (*B,)."""
    flat = points.reshape(-1, points.shape[-1])
    with torch.no_grad():
        values = [score(chunk).reshape(-1).sign() for chunk in torch.split(flat, _CHUNK)]
    found = torch.cat(values) if values else flat.new_zeros(0)
    return found.reshape(points.shape[:-1])


def nearest(score: Score, x: Tensor, y: Tensor, *, candidates: Tensor, norm: float, move: Steps, step: Tensor) -> Found:
    """The nearest point whose score is not of the sign y (N,), from candidates (M, D) by steps (K, k) of halving size."""
    points, distances = x.clone(), x.new_full((len(x),), inf)
    sides = sides_of(score, candidates)
    for label in (-1, 1):
        rows, fooling = (y == label).nonzero()[:, 0], candidates[sides * label <= 0]
        if len(rows) and len(fooling):
            _, index = cKDTree(fooling.cpu().numpy()).query(x[rows].cpu().numpy(), p=norm)
            points[rows] = fooling[torch.as_tensor(index, device=x.device)]
            distances[rows] = _length(points[rows] - x[rows], norm)
    rows = distances.isfinite().nonzero()[:, 0]
    points[rows] = _refined(score, x[rows], y[rows], points=points[rows], norm=norm, move=move, step=step)
    distances[rows] = _length(points[rows] - x[rows], norm)
    return Found(points, distances)


def _refined(score: Score, x: Tensor, y: Tensor, *, points: Tensor, norm: float, move: Steps, step: Tensor) -> Tensor:
    for halvings in range(_ROUNDS):
        tried = torch.cat([points[:, None], move(points, step / 2**halvings)], dim=1)
        length = _length(tried - x[:, None], norm)
        length = length.masked_fill(sides_of(score, tried) * y[:, None] > 0, inf)
        best = length.argmin(1)
        points = tried[torch.arange(len(x), device=x.device), best]
    return points


def stencil(dimensions: int, size: float, like: Tensor) -> Tensor:
    """All steps of 0, half of size or size along each axis, either way, but the one that rests: (5^dimensions - 1, dimensions)."""
    sizes = (-size, -size / 2, 0.0, size / 2, size)
    every = [step for step in itertools.product(sizes, repeat=dimensions) if any(step)]
    return torch.tensor(every, dtype=like.dtype, device=like.device)


def turning(score: Score, x: Tensor, normals: Tensor, *, radius: float, steps: int) -> Tensor:
    """The smallest |t| up to radius with a score at x + t normal not of x's sign: (N, D) -> (N,), else infinite.

    Crossings nearer to each other than radius / steps may be stepped over; the first one seen is bisected.
    """
    own = sides_of(score, x)
    ahead, behind = (_first(score, x, sign * normals, own=own, radius=radius, steps=steps) for sign in (1, -1))
    return torch.where(own == 0, 0.0, torch.minimum(ahead, behind))


def _first(score: Score, x: Tensor, normals: Tensor, *, own: Tensor, radius: float, steps: int) -> Tensor:
    grid = torch.arange(1, steps + 1, dtype=x.dtype, device=x.device) * (radius / steps)
    turned = sides_of(score, x[:, None] + grid[:, None] * normals[:, None]) * own[:, None] <= 0
    found = turned.any(1)
    high = grid[turned.to(torch.uint8).argmax(1)]
    low = high - radius / steps
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        beyond = sides_of(score, x + middle[:, None] * normals) * own <= 0
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return torch.where(found, high, inf)


def _length(offsets: Tensor, norm: float) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(offsets, ord=norm, dim=-1)
    return length
