"""Searches along a manifold and across it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks._ball import Feasible, Narrowed, length, per_input
from harness.types import Manifold, View

ROUNDS = 8  # of projections onto the ball and onto the directions, in turn
NEAR = 1e-3  # of epsilon, within which a point of both sets is found


def tangent_part(vectors: Tensor, basis: Tensor) -> Tensor:
    """The components of (B, *S) along orthonormal directions (B, D, d)."""
    flat = vectors.flatten(1)[..., None]
    return (basis @ (basis.mT @ flat))[..., 0].view_as(vectors)


def normal_part(vectors: Tensor, basis: Tensor) -> Tensor:
    """What of (B, *S) is orthogonal to the directions (B, D, d): the projector I - Q Q^T."""
    return vectors - tangent_part(vectors, basis)


def leakage(change: Tensor, basis: Tensor) -> Tensor:
    """The share of each change (B, *S) that is not tangent, |(I - Q Q^T) change| / |change|: (B,), 0 where nothing changed."""
    whole = torch.linalg.vector_norm(change.flatten(1), dim=1)
    normal = torch.linalg.vector_norm(normal_part(change, basis).flatten(1), dim=1)
    return torch.where(whole > 0, normal / whole.clamp_min(1e-30), 0.0)


def of_length_one(vectors: Tensor, feasible: Feasible) -> Tensor:
    """Each of (B, *S) divided by its length in the norm of the set; zero stays zero."""
    size = length(vectors, feasible)
    return vectors / per_input(torch.where(size > 0, size, 1.0), vectors)


@dataclass(frozen=True)
class Across(Narrowed):
    """The points of a ball that differ from its centers in directions normal to a manifold."""

    basis: Tensor

    def project(self, candidate: Tensor) -> Tensor:
        """Onto ball and directions in turn; ends in the ball, the last tangent part is what the box leaves."""
        for _ in range(ROUNDS):
            candidate = self.inner.project(self.x + normal_part(candidate - self.x, self.basis))
        return candidate

    def direction(self, gradient: Tensor) -> Tensor:
        return of_length_one(normal_part(gradient, self.basis), self.inner)

    def __getitem__(self, rows: Tensor) -> Across:
        return Across(self.inner[rows], self.basis[rows])


@dataclass(frozen=True)
class OnManifold(Narrowed):
    """The points of a ball that a manifold's projection gives back, moved by `shift` (B, *S).

    Steps go along the tangent directions at the centers. With shift = x - projection of x the centers themselves belong to the
    set, and no error of the projection counts as an attack.
    """

    manifold: Manifold
    basis: Tensor
    shift: Tensor

    @torch.no_grad()
    def project(self, candidate: Tensor) -> Tensor:
        """Onto manifold and ball in turn, each input until both agree; ends in the ball."""
        candidate, rows = candidate.clone(), torch.arange(len(candidate), device=candidate.device)
        for _ in range(ROUNDS):
            on = self.manifold.project(candidate[rows] - self.shift[rows]) + self.shift[rows]
            candidate[rows] = self.inner[rows].project(on.clone())
            rows = rows[(candidate[rows] - on).flatten(1).abs().amax(1) > NEAR * self.epsilon]
            if not len(rows):
                break
        return candidate

    def direction(self, gradient: Tensor) -> Tensor:
        return of_length_one(tangent_part(gradient, self.basis), self.inner)

    def __getitem__(self, rows: Tensor) -> OnManifold:
        return OnManifold(self.inner[rows], self.manifold, self.basis[rows], self.shift[rows])


@torch.no_grad()
def noted(view: View, manifold: Manifold, found: Tensor, *, x: Tensor, basis: Tensor | None = None) -> None:
    """Record the distance of what was found to the manifold, how much that is more than at x, and the tangent leakage.

    basis: the manifold's tangents at x, where they are at hand. A view that drops notes costs nothing.
    """
    if view.note is View.note:
        return
    basis = manifold.tangent_basis(x) if basis is None else basis
    rows = torch.arange(len(x), device=x.device)
    distance = manifold.distance(found)
    view.note("distance to manifold", rows, distance)
    view.note("farther from manifold", rows, distance - manifold.distance(x))
    view.note("tangent leakage", rows, leakage(found - x, basis))


def require(manifold: Manifold, x: Tensor, *, attack: str, methods: tuple[str, ...] = ()) -> None:
    """Raise ValueError for a manifold of inputs of another shape, TypeError for one that lacks what an attack uses."""
    lacking = [name for name in methods if not callable(getattr(manifold, name, None))]
    if lacking:
        raise TypeError(
            f"{attack} needs {' and '.join(lacking)} of its manifold, which {type(manifold).__name__} lacks; "
            "give another, such as `manifold: pca`"
        )
    with torch.no_grad():
        found = manifold.project(x[:1])
    if found.shape != x[:1].shape:
        raise ValueError(
            f"the manifold projects inputs {tuple(x.shape[1:])} to {tuple(found.shape[1:])}; fit it on this data set"
        )
