"""k-means of rows: distant starts, then Lloyd's iterations, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS_AT_ONCE = 4096


def k_means(rows: Tensor, k: int, *, generator: torch.Generator, iterations: int) -> Tensor:
    """At most k centres (k, p) of rows (N, p): fewer where fewer rows differ, and all of those then.

    Starts as in Arthur and Vassilvitskii 2007 (each the further from those before, the likelier), then at most so many
    iterations of Lloyd 1982, until no row changes its centre; one without rows stays where it was. The generator is on the CPU.
    """
    centers = _starts(rows, k, generator)
    chosen = nearest(rows, centers)
    for _ in range(iterations):
        sums = torch.zeros_like(centers).index_add_(0, chosen, rows)
        counts = torch.bincount(chosen, minlength=len(centers))[:, None]
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
        before, chosen = chosen, nearest(rows, centers)
        if torch.equal(before, chosen):
            break
    return centers


def nearest(rows: Tensor, centers: Tensor) -> Tensor:
    """Which centre (k, p) each row (N, p) is nearest to, (N,); ties by the smaller index."""
    half = centers.square().sum(1) / 2
    return torch.cat([(half - part @ centers.T).argmin(1) for part in torch.split(rows, ROWS_AT_ONCE)])


def _starts(rows: Tensor, k: int, generator: torch.Generator) -> Tensor:
    squares = rows.square().sum(1)
    equal = 16 * torch.finfo(rows.dtype).eps * squares  # nearer than rounding lets one see
    chosen = int(torch.randint(len(rows), (1,), generator=generator))
    found, distances = [chosen], torch.full_like(squares, torch.inf)
    while len(found) < k:
        center = rows[chosen]
        new = squares - 2 * (rows @ center) + squares[chosen]
        distances = distances.minimum(torch.where(new <= equal + equal[chosen], 0.0, new))
        if not distances.any():
            break
        share = distances.cumsum(0)
        place = torch.rand(1, generator=generator).to(share) * share[-1]
        chosen = min(int(torch.searchsorted(share, place, right=True)), len(rows) - 1)
        found.append(chosen)
    return rows[torch.tensor(found, device=rows.device)].clone()
