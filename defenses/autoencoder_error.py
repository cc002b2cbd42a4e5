"""Detection by how badly an input is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.types import Manifold, Network, Score, Spec, State


@dataclass(frozen=True)
class AutoencoderError:
    """Scores an input by its mean squared difference from its projection on a manifold of the training inputs.

    model: any manifold; by default an autoencoder's reconstruction as its encoder gives it. Source: Liu Z. et al. 2024,
    baseline "AE-MSE"; Hawkins et al. 2002, "Outlier detection using replicator neural networks".
    """

    role: ClassVar[Literal["detector"]] = "detector"
    model: Spec = Spec.of("manifold", "autoencoder", refinements=0)

    def load(self, state: State, *, victim: Network, model: Manifold) -> Score:
        """The mean squared error, (B, *S) -> (B,); only the model is fitted."""
        return lambda x, /: squared_error(x, model.project(x))


def squared_error(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared difference of each input: (B, *S) twice -> (B,)."""
    return (x - reconstructed).square().flatten(1).mean(1)
