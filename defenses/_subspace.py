"""The subspace in which clean inputs vary most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.types import State


@dataclass(frozen=True, eq=False)
class Subspace:
    """Mean (D,) and orthonormal directions (R, D) of principal components."""

    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, state: State) -> Subspace:
        """The subspace that a state holds."""
        return cls(state["mean"], state["directions"])

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the subspace: (B, *S) -> (B, *S), not clipped."""
        mean, directions = self.mean.to(x), self.directions.to(x)
        return torch.addmm(mean, (x.flatten(1) - mean) @ directions.T, directions).view_as(x)


def principal_components(x: Tensor, variance: float) -> State:
    """Mean and the fewest directions that keep this share of the variance of inputs (N, *S), by singular values."""
    flat = x.flatten(1).double()
    mean = flat.mean(0)
    _, values, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    kept = values.square().cumsum(0) / values.square().sum()
    number = int((kept < variance - 1e-9).sum()) + 1
    return {"mean": mean.float(), "directions": directions[:number].float().contiguous()}
