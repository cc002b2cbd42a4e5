"""Detection by the likelihood under a generative model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._evidence import EvidenceModel, log_evidence, shows_evidence
from harness.types import Network, Score, Spec, Split, State


@dataclass(frozen=True)
class Likelihood:
    """Scores an input by minus its log-evidence, in nats, under a variational autoencoder of the training inputs.

    The evidence is an importance-weighted bound with `samples` codes; their normal numbers are drawn once, when fitted, and
    are the same for all inputs. With normal pixels of one deviation this is a reconstruction error in the main: it ranks
    MNIST above Fashion-MNIST (AUROC .96), where models with sharper densities find the simpler digits more likely
    (Nalisnick et al. 2019). Raises TypeError for other manifolds. Source: Liu Z. et al. 2024, baseline "Likelihood"
    (there of a diffusion model).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    model: Spec = Spec.of("manifold", "variational_autoencoder")
    samples: int = 8

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"likelihood takes one sample at least, not {self.samples}")

    def fit(self, data: Split, *, victim: Network, model: EvidenceModel) -> State:
        """Noise (samples, d) of the codes."""
        return {"noise": torch.randn(self.samples, shows_evidence(model, "likelihood").dim)}

    def load(self, state: State, *, victim: Network, model: EvidenceModel) -> Score:
        """Minus the log-evidence, (B, *S) -> (B,)."""
        return _Surprise(shows_evidence(model, "likelihood"), state["noise"])


@dataclass(frozen=True, eq=False)
class _Surprise:
    """Minus the bound of the log-evidence."""

    model: EvidenceModel
    noise: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return -log_evidence(self.model, x, self.noise)
