"""The image of a variational autoencoder's decoder, with a lower bound of the evidence of any input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from geometry.manifolds._rows import Data, State, require_positive, rows, shape_tensor
from geometry.manifolds._training import Schedule, Training, train
from geometry.manifolds._variational import VariationalManifold, VariationalNetwork, evidence, standard_divergence
from geometry.manifolds._weights import read


@dataclass(frozen=True)
class VariationalAutoencoder:
    """Codes of `dim` numbers with the prior N(0, I); pixels are normal about the decoder's means, with one deviation.

    Convolutional for images, fully connected for other inputs; width: channels after the first convolution. epochs: passes
    over the data, at least 800 updates of Adam. deviation: of a pixel; small ones buy sharp images with codes far from
    the prior. refinements: Gauss-Newton steps on the code, to the nearest point of the decoder's image. weights: a file of
    trained ones, of this dim and width, or "fashion_mnist", which come with this module. Inputs lie in [0, 1]. Source:
    Kingma and Welling 2014, "Auto-encoding variational Bayes"; Tu et al. 2023, equation 24.
    """

    dim: int = 32
    width: int = 32
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    deviation: float = 0.2
    refinements: int = 2
    weights: Literal["fashion_mnist"] | Path | None = None

    def __post_init__(self) -> None:
        require_positive(
            dim=self.dim,
            width=self.width,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            deviation=self.deviation,
        )
        if self.refinements < 0:
            raise ValueError(f"refinements must be at least 0, not {self.refinements}")

    def fit(self, data: Data, *, training: Training | None = None) -> State:
        """Weights, float32, trained with numbers from torch's global generator, or read.

        Raises ValueError as `unit_rows` does, for a loss that diverges, and for weights of another dim, width or shape.
        """
        x = unit_rows(data.x)
        if self.weights is not None:
            return self._read(tuple(data.x.shape[1:]))
        network = VariationalNetwork(tuple(data.x.shape[1:]), self.dim, self.width).to(x.device)

        def loss(batch: Tensor) -> Tensor:
            given = x[batch.to(x.device)]
            noise = torch.randn(len(given), self.dim).to(x)
            bound = evidence(network, given, noise, deviation=self.deviation, divergence=standard_divergence)
            return -bound.mean() / x.shape[1]

        schedule = Schedule(self.epochs, self.batch_size, self.learning_rate)
        state = train(network, loss, len(x), schedule, what="variational autoencoder", training=training)
        return state | {"shape": shape_tensor(data.x)}

    def _read(self, shape: tuple[int, ...]) -> State:
        state = read("variational_autoencoder", self.weights or "")
        known = tuple(state["shape"].tolist()) if {"shape", "mean"} <= set(state) else None
        if known != shape:
            what = "no variational autoencoder's" if known is None else f"those of inputs {known}"
            raise ValueError(
                f"the inputs have the shape {shape}, but the weights are {what}; give others, or none to train them"
            )
        network_of(state, self.dim, self.width)
        return state

    def load(self, state: State) -> VariationalManifold:
        """The fitted manifold, with `elbo`, `posterior` and `sample`."""
        network = network_of(state, self.dim, self.width)
        return VariationalManifold(
            network,
            network.shape,
            self.dim,
            self.refinements,
            deviation=self.deviation,
            divergence=standard_divergence,
            prior=lambda number, generator: torch.randn(number, self.dim, generator=generator, device=generator.device),
        )


def unit_rows(x: Tensor) -> Tensor:
    """Inputs (N, *S) in [0, 1] as rows (N, D) float32; raises ValueError for fewer than two, other values and nan."""
    if len(x) < 2:
        raise ValueError(f"two inputs at least are needed, but {len(x)} were given")
    given = rows(x.detach(), tuple(x.shape[1:]), dtype=torch.float32)
    low, high = float(given.min()), float(given.max())
    if low < 0 or high > 1:
        raise ValueError(f"inputs lie in [0, 1], but these in [{low:g}, {high:g}]; scale them first")
    return given


def network_of(state: State, dim: int, width: int) -> VariationalNetwork:
    """The network of a state; raises ValueError for weights of another dim or width."""
    with torch.random.fork_rng(devices=[]):
        network = VariationalNetwork(tuple(state["shape"].tolist()), dim, width).to(state["mean"].device)
    try:
        network.load_state_dict({name: value for name, value in state.items() if name != "shape"})
    except RuntimeError as error:
        raise ValueError(f"the weights are not those of dim {dim} and width {width}: {error}") from None
    return network.eval().requires_grad_(False)
