"""Linear maps from one set of rows to many targets at many ridges, from one decomposition; and the ridge that fits other rows.

Where `linear_map.least_squares_map` decomposes the rows themselves, this decomposes their products: several times faster, and
exact to rows in single precision, as networks give them (directions below 1e-7 of the largest or so are rounding and dropped).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.representations.linear_map import LinearMap

RIDGES = tuple(10.0**power for power in range(-6, 3))  # times the mean squared singular value
SKETCH = 64  # directions of the target that a ridge is chosen on


@dataclass(frozen=True, eq=False)
class RidgePath:
    """Centred rows (N, F) in an orthonormal basis: rows = left diag(values) basis^T, values (k,) above rounding error."""

    mean: Tensor
    left: Tensor
    values: Tensor
    basis: Tensor

    @classmethod
    def of(cls, source: Tensor) -> RidgePath:
        """Decompose rows (N, F), in their dtype; raises ValueError unless there are rows."""
        if source.ndim != 2 or not len(source):
            raise ValueError(f"rows (N, F) are needed, not {tuple(source.shape)}")
        mean = source.mean(0)
        rows = source - mean
        wide = rows.shape[1] > len(rows)
        squares, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
        kept = squares > squares[-1] * max(rows.shape) * torch.finfo(rows.dtype).eps
        values, vectors = squares[kept].sqrt(), vectors[:, kept]
        other = (rows.T if wide else rows) @ vectors / values
        return cls(mean, *((vectors, values, other) if wide else (other, values, vectors)))

    @property
    def rank(self) -> int:
        """The number of directions in which the rows vary."""
        return len(self.values)

    def scale(self) -> float:
        """The mean squared singular value over all features: a ridge of 1 in relative terms."""
        return float(self.values.square().sum()) / len(self.mean)

    def map(self, target: Tensor, ridge: float = 0.0) -> LinearMap:
        """The affine map to paired rows (N, Fb) that minimises sum ||a_i M + c - b_i||^2 + ridge * scale * ||M||^2.

        Without a ridge it is least squares, of the least norm where directions are lacking. Raises ValueError for unpaired
        rows and negative ridges.
        """
        self._require(target, ridge)
        target_mean = target.mean(0)
        return self._map(self.left.T @ (target - target_mean), target_mean, ridge)

    def maps(self, target: Tensor, ridges: Sequence[float]) -> list[LinearMap]:
        """The maps at several ridges, their common part computed once."""
        for ridge in ridges:
            self._require(target, ridge)
        target_mean = target.mean(0)
        inner = self.left.T @ (target - target_mean)
        return [self._map(inner, target_mean, ridge) for ridge in ridges]

    def _map(self, inner: Tensor, target_mean: Tensor, ridge: float) -> LinearMap:
        gains = self.values / (self.values.square() + ridge * self.scale())
        matrix = self.basis @ (gains[:, None] * inner)
        return LinearMap(matrix, target_mean - self.mean @ matrix)

    def _require(self, target: Tensor, ridge: float) -> None:
        if target.ndim != 2 or len(target) != len(self.left):
            raise ValueError(
                f"{len(self.left)} rows were decomposed; as many paired ones are needed, not {tuple(target.shape)}"
            )
        if ridge < 0:
            raise ValueError(f"ridge must be at least 0, not {ridge}")


def chosen_ridge(
    source: Tensor,
    targets: Sequence[Tensor],
    fit: Tensor,
    *,
    ridges: Sequence[float] = RIDGES,
    seed: int = 0,
) -> list[float]:
    """For each target the relative ridge whose map, learned from the rows `fit` (N,) bool, is nearest on the other rows.

    Wide targets are compared in random directions, which keep squared distances in the mean. Raises ValueError where either
    side has no rows, or no ridge is given.
    """
    if not ridges or bool(fit.all()) or not bool(fit.any()):
        raise ValueError(
            f"{len(ridges)} ridges, {int(fit.sum())} of {len(fit)} rows to fit; some on both sides are needed"
        )
    path, generator = RidgePath.of(source[fit]), torch.Generator().manual_seed(seed)
    found = []
    for target in targets:
        seen = target
        if target.shape[1] > SKETCH:
            directions = torch.randn(target.shape[1], SKETCH, generator=generator, dtype=torch.float64)
            seen = target @ directions.to(target)
        maps = path.maps(seen[fit], ridges)
        errors = [float((learned(source[~fit]) - seen[~fit]).square().sum()) for learned in maps]
        found.append(ridges[min(range(len(errors)), key=errors.__getitem__)])
    return found
