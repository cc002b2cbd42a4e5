"""How far each input is from what fools a classifier: in all directions, on the manifold, along its normals, near by."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from geometry.risk._search import Found, Score, nearest, sides_of, stencil, turning
from geometry.risk.surroundings import Hypersurface, unit_normals

_PAIRS = 1 << 23  # distances held at once
_LINES = 40  # steps along a normal, on each side


@dataclass(frozen=True, eq=False)
class Radii:
    """The smallest budgets (N,) at which each input is fooled, in one norm; infinite where nothing was found.

    wrong: the input itself is misclassified (bool). adversarial: by any point; in_manifold: by one of the manifold;
    normal: by one along the normal, 0 for wrong inputs as in definition 3. nearby: the smallest e for which a point of
    the manifold within 2e has a point along its normal within e on the other side of the decision boundary (event B of
    definition 4). Every one is witnessed by a point at which the score was taken, so risks are met from below.
    """

    wrong: Tensor
    adversarial: Tensor
    in_manifold: Tensor
    normal: Tensor
    nearby: Tensor


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """What is searched: a manifold, nodes (M, D) that lie densely on it, and points (K, D) that fill its surroundings.

    spacing: between neighbours of either, the first step of refinement. radius: as far as normals are searched, in the
    Euclidean norm; twice the largest budget for the printed event A.
    """

    manifold: Hypersurface
    nodes: Tensor
    surroundings: Tensor
    spacing: float
    radius: float


def radii(score: Score, x: Tensor, y: Tensor, *, around: Neighbourhood, norm: float = 2.0) -> Radii:
    """The radii of inputs (N, D) on the manifold with labels (N,) of -1 and 1, for score (B, D) -> (B,); norm: 1, 2 or inf.

    The label is right where it is the score's sign; 0 is right for neither. What the decision boundary does between
    neighbouring points of the neighbourhood is not seen. Raises ValueError for other labels, shapes and norms. Source:
    Zhang et al. 2024, definitions 1 to 4.
    """
    _check(x, y, around, norm)
    y = y.to(x.dtype)
    wrong = sides_of(score, x) * y <= 0
    manifold = around.manifold
    ambient, own = x.shape[1], manifold.dim

    def along(points: Tensor, steps: Tensor) -> Tensor:
        moved = points[:, None] + steps @ manifold.tangent_basis(points).mT
        return manifold.project(moved.reshape(-1, ambient)).reshape(moved.shape)

    anywhere = nearest(
        score,
        x,
        y,
        candidates=torch.cat([around.surroundings, around.nodes]),
        norm=norm,
        move=lambda points, steps: points[:, None] + steps,
        step=stencil(ambient, around.spacing, x),
    )
    inside = nearest(score, x, y, candidates=around.nodes, norm=norm, move=along, step=stencil(own, around.spacing, x))
    normals = unit_normals(manifold, x)
    turned = turning(score, x, normals, radius=around.radius, steps=_LINES)
    normal = turned * torch.linalg.vector_norm(normals, ord=norm, dim=1)
    least = [torch.where(wrong, 0.0, found) for found in (anywhere.distances, inside.distances, normal)]
    adversarial = torch.stack(least).amin(0)
    nearby = _nearby(score, x, around=around, norm=norm, adversaries=anywhere)
    return Radii(wrong, adversarial, least[1], least[2], nearby)


def _nearby(score: Score, x: Tensor, *, around: Neighbourhood, norm: float, adversaries: Found) -> Tensor:
    """Event B, over the nodes, the inputs, and the projections of the adversaries found, on which the proof rests."""
    hits = adversaries.points[adversaries.distances.isfinite()]
    nodes = torch.cat([around.nodes, x, around.manifold.project(hits)])
    normals = unit_normals(around.manifold, nodes)
    turned = turning(score, nodes, normals, radius=around.radius, steps=_LINES)
    kept = turned.isfinite()
    nodes = nodes[kept]
    turned = turned[kept] * torch.linalg.vector_norm(normals[kept], ord=norm, dim=1)
    if not len(nodes):
        return x.new_full((len(x),), inf)
    rows = max(1, _PAIRS // len(nodes))
    parts = torch.split(x, rows)
    return torch.cat([torch.maximum(torch.cdist(part, nodes, p=norm) / 2, turned).amin(1) for part in parts])


def _check(x: Tensor, y: Tensor, around: Neighbourhood, norm: float) -> None:
    if x.ndim != 2 or not len(x) or y.shape != x.shape[:1]:
        raise ValueError(
            f"inputs (N, D), one at least, and labels (N,) are needed, not {tuple(x.shape)}, {tuple(y.shape)}"
        )
    if not bool(x.isfinite().all()) or x.dtype not in (torch.float32, torch.float64):
        raise ValueError("inputs are finite numbers in float32 or float64; convert them with x.double()")
    if not bool((y.abs() == 1).all()):
        raise ValueError(f"labels are -1 or 1, but {sorted(set(y.tolist()))[:4]} were given")
    if norm not in (1.0, 2.0, inf):
        raise ValueError(f"the norm is 1, 2 or inf, not {norm}")
    for name, points in (("nodes", around.nodes), ("surroundings", around.surroundings)):
        if points.ndim != 2 or not len(points) or points.shape[1] != x.shape[1]:
            raise ValueError(f"{name} of shape (M, {x.shape[1]}), one at least, are needed, not {tuple(points.shape)}")
    if not (around.spacing > 0 and around.radius > 0):
        raise ValueError(f"spacing and radius must be positive, not {around.spacing} and {around.radius}")
