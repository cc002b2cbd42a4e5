"""Purification by principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from defenses._subspace import Subspace, principal_components
from harness.types import Network, Purify, Split, State


@dataclass(frozen=True)
class PCAPurifier:
    """Projects every input on the leading principal components of clean inputs and clips it to the box.

    variance: share of the clean inputs' variance that the components keep. Differentiable. Source: Hendrycks and Gimpel
    2017, "Early methods for detecting adversarial images" (components of low variance carry perturbations); Bhagoji et
    al. 2018, "Enhancing robustness of machine learning systems via data transformations", section III.
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    variance: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.variance <= 1:
            raise ValueError(f"pca_purifier takes a share of the variance in (0, 1], not {self.variance}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """Mean (D,) and directions (R, D) of the inputs; the victim is not used."""
        return principal_components(data.x, self.variance)

    def load(self, state: State, *, victim: Network) -> Purify:
        """The clipped projection (B, *S) -> (B, *S)."""
        return _Projection(Subspace.of(state))


@dataclass(frozen=True, eq=False)
class _Projection:
    """The nearest point of a subspace, clipped."""

    subspace: Subspace

    def __call__(self, x: Tensor, /) -> Tensor:
        return self.subspace.project(x).clamp(0.0, 1.0)
