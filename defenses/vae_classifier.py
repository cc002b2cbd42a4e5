"""A classifier that reads the codes of a variational autoencoder and is trained together with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from geometry.manifolds._training import Schedule, train
from geometry.manifolds._variational import VariationalNetwork, evidence, standard_divergence
from geometry.manifolds.variational_autoencoder import unit_rows
from harness.types import Network, Split, State


@dataclass(frozen=True)
class VAEClassifier:
    """Replaces the victim by a classifier of the mean codes of a variational autoencoder, both trained on one loss.

    The loss is `weight` times the cross-entropy of a drawn code, less the evidence lower bound, whose pixels have the given
    deviation. The network shows `elbo(x, noise)`, `posterior`, `encode` and `decode`, which `elbo_purification` climbs
    and attackers use. deviation 0.7071 is the loss |x - x'|^2 + KL. Source: Tu et al. 2023, equation 29; Yang et al. 2024,
    "Adversarial purification with the manifold hypothesis" (weight 8 on Fashion-MNIST).
    """

    role: ClassVar[Literal["training"]] = "training"
    dim: int = 32
    width: int = 32
    hidden: int = 128
    weight: float = 8.0
    deviation: float = 0.7071
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        numbers = (self.dim, self.width, self.hidden, self.epochs, self.batch_size)
        if min(numbers) < 1 or min(self.weight, self.deviation, self.learning_rate) <= 0:
            raise ValueError(
                "vae_classifier takes positive dim, width, hidden, weight, deviation, epochs, batch_size, rate"
            )

    def fit(self, data: Split, *, victim: Network) -> State:
        """The weights of both; the victim is not used. Raises ValueError for a loss that is not finite."""
        network = CodeClassifier(tuple(data.x.shape[1:]), data.num_classes, self).to(data.x.device)
        x = unit_rows(data.x)

        def loss(batch: Tensor) -> Tensor:
            rows = batch.to(x.device)
            given, noise = x[rows], torch.randn(len(rows), self.dim).to(x)
            mean, log_variance = network.vae.posterior(given)
            logits = network.classify(mean + (0.5 * log_variance).exp() * noise)
            bound = evidence(network.vae, given, noise, deviation=self.deviation, divergence=standard_divergence)
            return self.weight * cross_entropy(logits, data.y[rows]) - bound.mean()

        schedule = Schedule(self.epochs, self.batch_size, self.learning_rate)
        state = train(network, loss, len(x), schedule, what="VAE classifier")
        return state | {"shape": torch.tensor(data.x.shape[1:]), "classes": torch.tensor(data.num_classes)}

    def load(self, state: State, *, victim: Network) -> CodeClassifier:
        """The classifier (B, *S) -> (B, K), with the autoencoder's methods."""
        with torch.random.fork_rng(devices=[]):
            network = CodeClassifier(tuple(state["shape"].tolist()), int(state["classes"]), self)
        network.to(state["shape"].device)
        network.load_state_dict({name: value for name, value in state.items() if name not in ("shape", "classes")})
        return network.eval().requires_grad_(False)


class CodeClassifier(nn.Module):
    """logits = head(features(x)), features of the mean code of x; and the evidence lower bound of x."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, part: VAEClassifier) -> None:
        super().__init__()
        self.shape, self.dim, self.deviation = shape, part.dim, part.deviation
        self.vae = VariationalNetwork(shape, part.dim, part.width)
        self.body = nn.Sequential(nn.Linear(part.dim, part.hidden), nn.ReLU())
        self.head = nn.Linear(part.hidden, num_classes)

    def classify(self, code: Tensor) -> Tensor:
        """Logits of codes: (B, d) -> (B, K)."""
        found: Tensor = self.head(self.body(code))
        return found

    def features(self, x: Tensor) -> Tensor:
        """What the head reads: (B, *S) -> (B, hidden)."""
        found: Tensor = self.body(self.encode(x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(x))
        return found

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the codes: (B, *S) -> (B, d) twice."""
        return self.vae.posterior(x.flatten(1))

    def encode(self, x: Tensor) -> Tensor:
        """The mean codes: (B, *S) -> (B, d)."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """The mean images of codes: (B, d) -> (B, *S) in (0, 1)."""
        return self.vae.decode(z).reshape(len(z), *self.shape)

    def elbo(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The evidence lower bound in nats: (B, *S), noise (B, d) or None for the mean code -> (B,), differentiable."""
        return evidence(self.vae, x.flatten(1), noise, deviation=self.deviation, divergence=standard_divergence)
