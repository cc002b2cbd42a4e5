"""The local affine maps of networks as points: clusters of them, maps from one network's to another's, and their pictures.

A row (w, b) is one output's map x -> w.x + b on the cell of one input, a point of the dual space with d + 1 coordinates; rows
(B, K, d + 1) are those of B inputs and K outputs. Source: Sattelberg et al. 2023, equations (5) to (8).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geometry.polyhedra._k_means import k_means, nearest
from geometry.polyhedra.local_affine_map import local_affine_map

AT_ONCE = 256
CUTOFF = 1e-6  # singular values below this share of the largest one count as zero


def map_rows(network: nn.Module, x: Tensor, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """The rows (w, b) of inputs (B, *S): (B, K, d + 1), computed in float64, kept in the given precision.

    Raises ValueError for a network that `local_affine_map` refuses. Source: Sattelberg et al. 2023, equation (7).
    """
    blocks = []
    for part in torch.split(x, AT_ONCE):
        found = local_affine_map(network, part)
        blocks.append(torch.cat([found.weight, found.bias[..., None]], 2).to(dtype))
    return torch.cat(blocks)


def map_outputs(rows: Tensor, x: Tensor) -> Tensor:
    """What maps (B, K, d + 1), one set an input, make of inputs (B, *S): (B, K)."""
    flat = x.flatten(1).to(rows)
    return torch.einsum("bkd,bd->bk", rows[..., :-1], flat) + rows[..., -1]


def gradient_images(network: nn.Module, x: Tensor) -> Tensor:
    """The gradient of each output at inputs (B, *S), in the shape of the input: (B, K, *S), float64."""
    weight = local_affine_map(network, x).weight
    return weight.reshape(*weight.shape[:2], *x.shape[1:])


@dataclass(frozen=True, eq=False)
class MapClusters:
    """Centres of each output's rows: K tensors (k, d + 1), on the device and in the precision of the rows."""

    centers: tuple[Tensor, ...]

    def __call__(self, rows: Tensor, x: Tensor) -> Tensor:
        """Outputs (B, K) of inputs (B, *S) when each row (B, K, d + 1) is replaced by the centre nearest to it."""
        return map_outputs(self.replaced(rows), x)

    def replaced(self, rows: Tensor) -> Tensor:
        """The centre nearest to each row, (B, K, d + 1)."""
        columns = zip(rows.unbind(1), self.centers, strict=True)
        return torch.stack([centers[nearest(part, centers)] for part, centers in columns], 1)

    def distances(self, rows: Tensor) -> Tensor:
        """How far each row is from its nearest centre, (B, K)."""
        distance: Tensor = torch.linalg.vector_norm(rows - self.replaced(rows), dim=2)
        return distance


def map_clusters(rows: Tensor, k: int, *, seed: int = 0, iterations: int = 50) -> MapClusters:
    """Clusters of rows (N, K, d + 1), k an output, by k-means of each output alone; fewer where fewer rows differ.

    One centre is the mean; as many as rows give the network's own outputs. Raises ValueError unless 1 <= k <= N.
    Source: Sattelberg et al. 2023, section 2.4.1.
    """
    _require_rows(rows)
    if not 1 <= k <= len(rows):
        raise ValueError(f"k must be between 1 and the number of rows, {len(rows)}, not {k}")
    generator = torch.Generator().manual_seed(seed)
    if k == 1:
        return MapClusters(tuple(rows.mean(0)[:, None].unbind(0)))
    return MapClusters(tuple(k_means(part, k, generator=generator, iterations=iterations) for part in rows.unbind(1)))


@dataclass(frozen=True, eq=False)
class RowMaps:
    """Rows (B, K, p) -> rows @ matrix + offset, for each output its own: matrix (K, p, q), offset (K, q), float64."""

    matrix: Tensor
    offset: Tensor

    def __call__(self, rows: Tensor, /) -> Tensor:
        mapped = torch.einsum("bkp,kpq->bkq", rows.to(self.matrix), self.matrix)
        return mapped + self.offset


def row_maps(source: Tensor, target: Tensor, *, cutoff: float = CUTOFF) -> RowMaps:
    """The matrices M_j that minimise ||source_j M_j - target_j|| (Frobenius), those of least norm, without offset.

    source (N, K, p) and target (N, K, q): rows of the same N inputs, with or without the coordinate b. Directions whose
    singular value is below cutoff times the largest are dropped: pixels that never change make the rows rank deficient.
    Several targets side by side, (N, K, q1 + q2), share one decomposition. Raises ValueError for unpaired rows.
    Source: Sattelberg et al. 2023, equation (8).
    """
    _require_pairs(source, target)
    columns = zip(source.unbind(1), target.unbind(1), strict=True)
    matrix = torch.stack([_least_squares(a.double(), b.double(), cutoff) for a, b in columns])
    return RowMaps(matrix, torch.zeros_like(matrix[:, 0]))


def mean_row_null(source: Tensor, target: Tensor) -> RowMaps:
    """What `row_maps` must beat: every row becomes the mean row of the target, whatever the source says."""
    _require_pairs(source, target)
    matrix = source.new_zeros(source.shape[1], source.shape[2], target.shape[2], dtype=torch.float64)
    return RowMaps(matrix, target.double().mean(0))


def shuffled_rows(rows: Tensor, *, seed: int = 0) -> Tensor:
    """The rows (N, K, q) of the same inputs in random order: a map fitted to them is what `row_maps` must beat."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order.to(rows.device)]


def bias_only_null(source: Tensor, target: Tensor) -> RowMaps:
    """What `row_maps` must beat: the affine map from the source's last coordinate b alone, b = f(x) - w.x.

    That coordinate holds the source's own answer at the input, so that labels may pass through it.
    """
    mean = mean_row_null(source, target)
    bias, rest = source[..., -1].double(), target.double() - mean.offset
    bias_mean = bias.mean(0)
    centered = bias - bias_mean
    spread = centered.square().sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    slope = torch.einsum("nk,nkq->kq", centered, rest) / spread[:, None]
    mean.matrix[:, -1] = slope
    return RowMaps(mean.matrix, mean.offset - bias_mean[:, None] * slope)


def _least_squares(source: Tensor, target: Tensor, cutoff: float) -> Tensor:
    """By the eigenvectors of source' source, or of source source' where rows are fewer than coordinates: (p, q)."""
    few = len(source) < source.shape[1]
    values, vectors = torch.linalg.eigh(source @ source.T if few else source.T @ source)
    chosen = values > cutoff**2 * values[-1]
    kept, gains = vectors[:, chosen], values[chosen, None]
    solved: Tensor = kept @ ((kept.T @ (target if few else source.T @ target)) / gains)
    return source.T @ solved if few else solved


def _require_pairs(source: Tensor, target: Tensor) -> None:
    _require_rows(source)
    _require_rows(target)
    if source.shape[:2] != target.shape[:2]:
        raise ValueError(
            f"rows of the same inputs and outputs are needed, not {tuple(source.shape)} and {tuple(target.shape)}"
        )


def _require_rows(rows: Tensor) -> None:
    if rows.ndim != 3 or not len(rows) or not rows.is_floating_point():
        raise ValueError(f"rows (N, K, d + 1) of floating-point numbers are needed, not {tuple(rows.shape)}")
    if not rows.isfinite().all():
        raise ValueError("the rows hold NaN or infinite values; they are no affine maps")
