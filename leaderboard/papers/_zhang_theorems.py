"""Theorems 1 and 2 of Zhang et al. 2024 on examples whose risks are known: where they hold, and where they do not as printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import acos, pi, sqrt
from typing import Any

import torch
from torch import Tensor

from geometry.manifolds.circle import Circle
from geometry.manifolds.strip import Strip
from geometry.risk.decomposition import flags, risks
from geometry.risk.radii import Neighbourhood, radii
from geometry.risk.surroundings import box_grid, tube

Row = dict[str, Any]

EPSILON = 0.1
_SECTORS = 80
_FRACTION = 0.02  # of the circle, in thin sectors
_ARC = 0.5  # half the angle on which the data of part II lie


@dataclass(frozen=True, eq=False)
class Example:
    """A classifier on a manifold with all labels 1: score, inputs (N, D) and where to search."""

    score: Callable[[Tensor], Tensor]
    x: Tensor
    around: Neighbourhood

    def risks(self, epsilon: float) -> dict[str, float]:
        """The risks at a budget, in the Euclidean norm."""
        labels = torch.ones(len(self.x), dtype=self.x.dtype)
        return risks(flags(radii(self.score, self.x, labels, around=self.around), epsilon))


def strip(n: int, epsilon: float, nodes: int = 6000) -> Example:
    """Theorem 2: boundary at height epsilon / 2 over n intervals of length 1 / n^2, at height 1 over the n + 1 between them."""
    wide, narrow = _lengths(n)

    def score(points: Tensor) -> Tensor:
        place = points[:, 0].remainder(wide + narrow)
        inside = (points[:, 0] > 0) & (points[:, 0] < 1)
        low = inside & (place > wide)
        height: Tensor = torch.where(low, epsilon / 2, 1.0)
        return height - points[:, 1].abs()

    every, some = (torch.nn.functional.pad(box_grid((0.0,), (1.0,), spacing=1 / k), (0, 1)) for k in (nodes, 2001))
    return _example(score, Strip().load({}), some, every, epsilon)


def strip_risk(n: int, epsilon: float) -> float:
    """The adversarial risk of the strip: end intervals have a neighbour on one side only, which the paper forgets."""
    wide, narrow = _lengths(n)
    return n * narrow + (n - 1) * min(wide, sqrt(3) * epsilon) + 2 * min(wide, sqrt(3) / 2 * epsilon)


def _lengths(n: int) -> tuple[float, float]:
    return (n - 1) / (n * (n + 1)), 1 / n**2


def thin_sectors(epsilon: float, nodes: int = 16_000) -> Example:
    """Against theorem 1 (I) as printed: a ring of half width 1.5 epsilon, but epsilon / 2 in thin sectors."""

    def score(points: Tensor) -> Tensor:
        turn = torch.atan2(points[:, 1], points[:, 0]) / (2 * pi)
        thin = (turn * _SECTORS).remainder(1.0) < _FRACTION
        off: Tensor = (torch.linalg.vector_norm(points, dim=1) - 1).abs()
        return torch.where(thin, epsilon / 2, 1.5 * epsilon) - off

    return _example(score, Circle().load({}), on_circle(2001), on_circle(nodes), epsilon)  # 2001: coprime with 80


def arc(epsilon: float, nodes: int = 4000) -> Example:
    """Against theorem 1 (II) as printed: data on an arc, the ring wide there and narrow elsewhere."""

    def score(points: Tensor) -> Tensor:
        wide = torch.atan2(points[:, 1], points[:, 0]).abs() <= _ARC
        off: Tensor = (torch.linalg.vector_norm(points, dim=1) - 1).abs()
        return torch.where(wide, 2 * epsilon, epsilon / 2) - off

    angle = box_grid((-_ARC,), (_ARC,), spacing=2 * _ARC / 2000)[:, 0]
    return _example(score, Circle().load({}), torch.stack([angle.cos(), angle.sin()], 1), on_circle(nodes), epsilon)


def arc_risk(epsilon: float) -> float:
    """The adversarial risk of `arc`: within e of the corner of the narrow part, at radius 1 - e / 2, at either end."""
    corner = 1 - epsilon / 2
    return acos((1 + corner**2 - epsilon**2) / (2 * corner)) / _ARC


def on_circle(number: int) -> Tensor:
    """Points (N, 2) at equal angles of the unit circle, none on an axis for an even number."""
    angle = 2 * pi * (torch.arange(number, dtype=torch.float64) + 0.5) / number
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def _example(score: Callable[[Tensor], Tensor], manifold: Any, x: Tensor, nodes: Tensor, epsilon: float) -> Example:
    surroundings = tube(manifold, nodes, radius=1.5 * epsilon, steps=15)
    spacing = max(float((nodes[1] - nodes[0]).norm()), epsilon / 10)
    return Example(score, x, Neighbourhood(manifold, nodes, surroundings, spacing, 2 * epsilon))


def theorems() -> Iterator[Row]:
    """The risks of each example at a budget of 0.1, with the adversarial risk that is known."""
    yield {"example": "thin sectors (1, I)", "known": 1.0} | thin_sectors(EPSILON).risks(EPSILON)
    yield {"example": "data on an arc (1, II)", "known": arc_risk(EPSILON)} | arc(EPSILON).risks(EPSILON)
    for n in (3, 6, 7, 10, 20):
        yield {"example": f"strip, n = {n} (2)", "known": strip_risk(n, EPSILON)} | strip(n, EPSILON).risks(EPSILON)
