"""Detection by how much better a posterior of its own explains an input than the encoder's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._evidence import EvidenceModel, bound, shows_evidence
from harness.types import Network, Score, Spec, Split, State


@dataclass(frozen=True)
class LikelihoodRegret:
    """Scores an input by how far its evidence bound rises, in nats, when the posterior of its code is fitted to it alone.

    `steps` steps of Adam on means and log-variances from the encoder's, the decoder held still; the best is kept, so that
    no score is negative. The bound is a mean over `samples` codes with normal numbers drawn once, when fitted, the same
    for all inputs. The gradient is that of the bound with the found posterior held still, exact where it is the best one.
    Raises TypeError for other manifolds than variational autoencoders. Source: Xiao, Yan and Amit 2020, "Likelihood regret:
    an out-of-distribution detection score for variational auto-encoder", section 3 (the posterior in place of the encoder).
    """

    role: ClassVar[Literal["detector"]] = "detector"
    model: Spec = Spec.of("manifold", "variational_autoencoder")
    samples: int = 2
    steps: int = 20
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        if min(self.samples, self.steps) < 1 or self.learning_rate <= 0:
            raise ValueError("likelihood_regret takes one sample and one step at least, and a positive learning_rate")

    def fit(self, data: Split, *, victim: Network, model: EvidenceModel) -> State:
        """Noise (samples, d) of the codes."""
        return {"noise": torch.randn(self.samples, shows_evidence(model, "likelihood_regret").dim)}

    def load(self, state: State, *, victim: Network, model: EvidenceModel) -> Score:
        """The gain of the bound, (B, *S) -> (B,)."""
        return _Regret(shows_evidence(model, "likelihood_regret"), state["noise"], self.steps, self.learning_rate)


@dataclass(frozen=True, eq=False)
class _Regret:
    """The bound of a posterior fitted to each input less the encoder's."""

    model: EvidenceModel
    noise: Tensor
    steps: int
    learning_rate: float

    def __call__(self, x: Tensor, /) -> Tensor:
        mean, log_variance = self.model.posterior(x)
        found = self._fitted(x.detach(), mean.detach(), log_variance.detach())
        before = bound(self.model, x, self.noise, mean=mean, log_variance=log_variance)
        return bound(self.model, x, self.noise, mean=found[0], log_variance=found[1]) - before

    @torch.enable_grad()
    def _fitted(self, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Means and log-variances (2, B, d) with the highest bound on the way of Adam."""
        posterior = torch.stack([mean, log_variance]).requires_grad_()
        optimizer = torch.optim.Adam([posterior], lr=self.learning_rate)
        best, highest = posterior.detach().clone(), torch.full((len(x),), -torch.inf, device=x.device)
        for step in range(self.steps + 1):
            reached = bound(self.model, x, self.noise, mean=posterior[0], log_variance=posterior[1])
            better = reached.detach() > highest
            best = torch.where(better[:, None], posterior.detach(), best)
            highest = torch.maximum(highest, reached.detach())
            if step < self.steps:
                (posterior.grad,) = torch.autograd.grad(-reached.sum(), posterior)
                optimizer.step()
        return best
