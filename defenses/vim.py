"""Detection by a logit for what no class explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._features import embedded, shows_features
from harness.types import Network, Score, Split, State


@dataclass(frozen=True)
class ViM:
    """Scores an input by a virtual logit, the length of its features outside a subspace, less the soft maximum of the others.

    The subspace holds the `dim` principal directions of clean features (B, F) about the point where the last layer, which has
    to be affine, gives zero or comes nearest to it; None for half of F. The virtual logit is scaled to the mean largest logit.
    Raises TypeError for victims without `features` or with another last layer, ValueError for a dim of F or more and where
    clean features do not leave the subspace. Source: Wang et al. 2022, "ViM: out-of-distribution with virtual-logit
    matching", section 4.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    dim: int | None = None

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"vim takes a dim of at least 1, or None for half of the features, not {self.dim}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """Origin (F,), residual directions (F, F - dim) times the scale of the virtual logit."""
        features = embedded(shows_features(victim, "vim"), data)
        size = features.shape[1]
        dim = size // 2 if self.dim is None else self.dim
        if not 0 < dim < size:
            raise ValueError(f"vim takes a dim below the {size} features of the victim, not {dim}")
        weight, offset = _affine(victim, features)
        origin = -torch.linalg.pinv(weight.T) @ offset
        centered = features - origin
        residual = torch.linalg.eigh(centered.T @ centered / len(centered)).eigenvectors[:, : size - dim]
        length = torch.linalg.vector_norm(centered @ residual, dim=1).mean()
        if length <= 1e-9 * torch.linalg.vector_norm(centered, dim=1).mean():
            raise ValueError(f"clean features lie in {dim} dimensions, so that vim sees nothing; give a smaller dim")
        scale = (features @ weight + offset).amax(1).mean() / length
        return {"origin": origin.float(), "residual": (scale * residual).float()}

    def load(self, state: State, *, victim: Network) -> Score:
        """The virtual logit less log sum exp of the logits, (B, *S) -> (B,)."""
        return _Virtual(shows_features(victim, "vim"), state["origin"], state["residual"])


@dataclass(frozen=True, eq=False)
class _Virtual:
    """The scaled length of the residual less the energy of the logits."""

    victim: Network
    origin: Tensor
    residual: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        features = self.victim.features(x)
        outside = (features - self.origin.to(features)) @ self.residual.to(features)
        virtual: Tensor = torch.linalg.vector_norm(outside, dim=1)
        return virtual - self.victim.head(features).logsumexp(1)


@torch.no_grad()
def _affine(victim: Network, features: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (F, K) and offset (K,) of the last layer, float64; raises TypeError where it is not affine."""
    units = torch.eye(features.shape[1], device=features.device)
    offset = victim.head(torch.zeros_like(units[:1]))[0].double()
    weight = victim.head(units).double() - offset
    some = features[:64]
    given, expected = victim.head(some.float()).double(), some @ weight + offset
    if not torch.allclose(given, expected, rtol=1e-3, atol=1e-3 * float(given.abs().amax())):
        raise TypeError("vim needs a victim whose last layer is affine: head(features) = features W + b")
    return weight, offset
