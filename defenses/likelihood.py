"""Detection by the likelihood under a generative model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from defenses._evidence import Likely, likelihood_noise, log_likelihoods, shows_likelihood
from harness.types import Network, Score, Spec, Split, State


@dataclass(frozen=True)
class Likelihood:
    """Scores an input by minus its log-likelihood, in nats, under a variational autoencoder or diffusion model of training inputs.

    Of an autoencoder: the evidence, an importance-weighted bound with `samples` codes. With normal pixels of one deviation
    this is a reconstruction error in the main: it ranks MNIST above Fashion-MNIST (AUROC .96), where models with sharper
    densities find the simpler digits more likely (Nalisnick et al. 2019). Of a diffusion model: the density by `steps`
    Runge-Kutta steps of the probability-flow equation, its divergence from `samples` rows of signs, without a gradient.
    Normal numbers and signs are drawn once, when fitted, and are the same for all inputs. Raises TypeError for other
    manifolds. Source: Liu Z. et al. 2024, baseline "Likelihood" (of a diffusion model).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    model: Spec = Spec.of("manifold", "variational_autoencoder")
    samples: int = 8
    steps: int = 5

    def __post_init__(self) -> None:
        if min(self.samples, self.steps) < 1:
            raise ValueError(f"likelihood takes one sample and step at least, not {self.samples} and {self.steps}")

    def fit(self, data: Split, *, victim: Network, model: Likely) -> State:
        """Noise (samples, d) of the codes, or signs of the images."""
        return {"noise": likelihood_noise(shows_likelihood(model, "likelihood"), self.samples)}

    def load(self, state: State, *, victim: Network, model: Likely) -> Score:
        """Minus the log-likelihood, (B, *S) -> (B,)."""
        return _Surprise(shows_likelihood(model, "likelihood"), state["noise"], self.steps)


@dataclass(frozen=True, eq=False)
class _Surprise:
    """Minus the log-likelihood."""

    model: Likely
    noise: Tensor
    steps: int

    def __call__(self, x: Tensor, /) -> Tensor:
        return -log_likelihoods(self.model, x, self.noise, steps=self.steps)
