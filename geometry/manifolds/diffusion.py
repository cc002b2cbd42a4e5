"""The images that a denoising diffusion model leaves as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from geometry.manifolds._denoised import DenoisedManifold
from geometry.manifolds._denoiser_network import DenoiserNetwork
from geometry.manifolds._denoising import kept_at
from geometry.manifolds._rows import Data, State, require_positive, shape_tensor
from geometry.manifolds._training import Schedule, Training, train
from geometry.manifolds._weights import read
from geometry.manifolds.variational_autoencoder import unit_rows

LEAST_UPDATES = 300


@dataclass(frozen=True)
class Diffusion:
    """A denoising diffusion model, and as a manifold what one denoising step makes of an input.

    A U-Net on patches of `patch` pixels with `width` and 2 width channels (layers of 4 width units for inputs that are no
    images), trained by Adam on noise at random times; epochs: passes over the data, at least 300 updates. weights: a file
    of trained ones, whose width and patch count, or "fashion_mnist", which come with this module. time: of the noise, in
    (0, 1], that projections take an input for; dim: of tangent spaces, found in `iterations` products with the denoiser's
    Jacobian and its transpose. Inputs lie in [0, 1]. Source: Ho et al. 2020, "Denoising diffusion probabilistic models";
    Tu et al. 2023, section 2.2.
    """

    dim: int = 16
    width: int = 24
    patch: int = 2
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 2e-3
    time: float = 0.05
    iterations: int = 3
    weights: Literal["fashion_mnist"] | Path | None = None

    def __post_init__(self) -> None:
        require_positive(
            dim=self.dim,
            width=self.width,
            patch=self.patch,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            iterations=self.iterations,
        )
        if self.width % 8:
            raise ValueError(f"width must be a multiple of 8, not {self.width}")
        if not 0 < self.time <= 1:
            raise ValueError(f"time must lie in (0, 1], not {self.time}")

    def fit(self, data: Data, *, training: Training | None = None) -> State:
        """Weights, float32, trained with numbers from torch's global generator, or read.

        Raises ValueError for fewer than two inputs, values outside [0, 1] and nan, for a loss that diverges, and for weights
        of another width, patch or shape.
        """
        shape = tuple(data.x.shape[1:])
        x = 2 * unit_rows(data.x).reshape(-1, *shape) - 1
        if self.weights is not None:
            network = _network(read("diffusion", self.weights), shape)
        else:
            network = DenoiserNetwork(shape, self.width, self.patch).to(x.device)
            self._train(network, x, training)
        state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
        return state | {"shape": shape_tensor(data.x)}

    def load(self, state: State) -> DenoisedManifold:
        """The model, with `noise`, `sample` and `log_density`."""
        shape = tuple(state["shape"].tolist())
        network = _network(state, shape).eval().requires_grad_(False)
        return DenoisedManifold(network, shape, self.dim, self.time, self.iterations)

    def _train(self, network: DenoiserNetwork, x: Tensor, training: Training | None) -> None:
        with torch.no_grad():
            network.spread.copy_(x.var(0).mean())
        network.train()

        def loss(batch: Tensor) -> Tensor:
            """The squared error of the noise at times drawn evenly, over abar, which makes it that of v."""
            given = x[batch.to(x.device)]
            start = float(torch.rand(()))
            times = (start + torch.arange(len(given), device=x.device) / len(given)) % 1
            kept = torch.tensor([kept_at(time) for time in times.tolist()]).to(x)
            share = kept.view(-1, *(1,) * (x.ndim - 1))
            noise = torch.randn(given.shape).to(x)
            noisy = share.sqrt() * given + (1 - share).sqrt() * noise
            return mse_loss(network(noisy, kept) / share.sqrt(), noise / share.sqrt())

        schedule = Schedule(self.epochs, self.batch_size, self.learning_rate, LEAST_UPDATES)
        train(network, loss, len(x), schedule, what="diffusion", training=training)


def _network(state: State, shape: tuple[int, ...]) -> DenoiserNetwork:
    """The network of a state; raises ValueError for one of other inputs."""
    known = tuple(state["shape"].tolist()) if {"shape", "size", "spread"} <= set(state) else None
    if known != shape:
        what = "no diffusion model's" if known is None else f"those of inputs {known}"
        raise ValueError(
            f"the inputs have the shape {shape}, but the weights are {what}; give others, or none to train them"
        )
    width, patch = state["size"].tolist()
    with torch.random.fork_rng(devices=[]):
        network = DenoiserNetwork(shape, width, patch).to(state["spread"].device)
    network.load_state_dict({name: value for name, value in state.items() if name != "shape"})
    return network
