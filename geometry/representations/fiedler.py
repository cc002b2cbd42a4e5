"""Fiedler partitions: the two halves into which the Laplacian of a dissimilarity matrix's affinities falls.

Affinities 1 - R of correlation distances are correlations and may be negative; then the constant vector is no longer the one
of the smallest eigenvalue, and the second eigenvector need not be the cut. Hence the other affinities, and what is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.representations._matrix import require_matrix

DEGENERATE = 1e-8  # eigenvalues nearer than that share of the largest one are taken for equal


def complement(matrix: Tensor) -> Tensor:
    """1 - R, as Pickard et al. 2023, algorithm 1 prints it; may be negative. The diagonal, which no Laplacian sees, is 0."""
    return _without_loops(1 - matrix)


def clipped(matrix: Tensor) -> Tensor:
    """max(0, 1 - R)."""
    return _without_loops((1 - matrix).clamp_min(0))


def halved(matrix: Tensor) -> Tensor:
    """1 - R / 2, never negative for R up to 2."""
    return _without_loops(1 - matrix / 2)


AFFINITIES: dict[str, Callable[[Tensor], Tensor]] = {"complement": complement, "clipped": clipped, "halved": halved}


@dataclass(frozen=True, eq=False)
class Partition:
    """The second eigenvector (N,), of unit length, the smallest eigenvalues in ascending order, and what is wrong with them.

    degenerate: the second eigenvalue equals a neighbour, so that the vector is one of many. constant: the vector is the constant
    one, which cuts nothing: negative affinities outweigh. part (N,): where the vector is positive.
    """

    vector: Tensor
    eigenvalues: Tensor
    degenerate: bool
    constant: bool

    @property
    def part(self) -> Tensor:
        """(N,) booleans; zeros are false, like what is negative."""
        return self.vector > 0


@dataclass(frozen=True)
class Agreement:
    """Share of stimuli on the side of their label, and its mean over both labels, each for the better naming of the sides.

    majority: the share of the more frequent label, which the cut of a single stimulus nearly reaches.
    """

    accuracy: float
    balanced: float
    majority: float


def fiedler_partition(affinity: Tensor, *, normalised: bool = False, beside_constant: bool = False) -> Partition:
    """The partition by the eigenvector of the second smallest eigenvalue of D - A, or of I - D^-1/2 A D^-1/2; in float64.

    affinity (N, N): symmetric, its diagonal is not read. beside_constant: that of the smallest eigenvalue among the vectors
    orthogonal to the constant one (D^1/2 1), which is another where affinities are negative or parts are not connected. Raises
    ValueError where the normalised Laplacian is undefined: affinities of a stimulus that sum to 0 or less. Source: Fiedler
    1973; Shi and Malik 2000.
    """
    weights = _without_loops(affinity.double())
    require_matrix(weights, "the affinity")
    degrees = weights.sum(1)
    laplacian = torch.diag(degrees) - weights
    trivial = torch.ones_like(degrees)
    if normalised:
        if float(degrees.min()) <= 0:
            place = int(degrees.argmin())
            raise ValueError(
                f"the affinities of stimulus {place} sum to {float(degrees[place]):.3g}, and the normalised Laplacian "
                "needs a positive sum; clip or halve them, or leave the stimulus out"
            )
        scale = degrees.rsqrt()
        laplacian, trivial = scale[:, None] * laplacian * scale, degrees.sqrt()
    trivial = trivial / torch.linalg.vector_norm(trivial)
    eigenvalues, vectors = torch.linalg.eigh((laplacian + laplacian.T) / 2)
    near, place, seen = DEGENERATE * float(eigenvalues.abs().max()), 1, eigenvalues
    if beside_constant:
        above = 3 * float(eigenvalues.abs().max()) + 1
        seen, vectors = torch.linalg.eigh((laplacian + laplacian.T) / 2 + above * torch.outer(trivial, trivial))
        place = 0
    neighbours = seen[max(place - 1, 0) : place + 2].diff()
    vector = vectors[:, place]
    return Partition(vector, eigenvalues[:4], bool((neighbours <= near).any()), float((vector @ trivial).abs()) > 0.999)


def agreement(part: Tensor, labels: Tensor) -> Agreement:
    """How well two parts (N,) match two labels (N,), under the better of the two assignments.

    Raises ValueError unless there are exactly two labels. The paper's (|P1| + |P2|) / N is 1 whatever the cut.
    """
    known = torch.unique(labels)
    if len(known) != 2 or len(part) != len(labels):
        raise ValueError(f"two labels for {len(part)} stimuli are needed, not {len(known)} for {len(labels)}")
    truth = labels == known[1]
    shares = [float((part[truth == side] == side).double().mean()) for side in (True, False)]
    right = float((part == truth).double().mean())
    balanced = sum(shares) / 2
    most = float(truth.double().mean())
    return Agreement(max(right, 1 - right), max(balanced, 1 - balanced), max(most, 1 - most))


def _without_loops(affinity: Tensor) -> Tensor:
    return affinity.masked_fill(torch.eye(affinity.shape[-1], dtype=torch.bool, device=affinity.device), 0.0)
