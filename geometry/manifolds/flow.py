"""A density on the image of an autoencoder's decoder, by a normalising flow of its codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from geometry.manifolds._decoded import DecodedManifold
from geometry.manifolds._rows import Data, State, require_positive, rows
from geometry.manifolds._training import Schedule, Training, train
from geometry.manifolds.autoencoder import Autoencoder

_TOGETHER = 512


@dataclass(frozen=True)
class Flow:
    """The manifold of `autoencoder`, with a density that a neural spline flow of zuko gives its codes.

    transforms: autoregressive spline transformations of the codes, each from a network with two layers of `hidden`
    units; flow_epochs: passes over the codes, at least 800 updates of Adam. Everything else is as in `autoencoder`.
    Source: Tu et al. 2023, section 2.1, with one level in place of four; Durkan et al. 2019, "Neural spline flows".
    """

    dim: int = 16
    width: int = 16
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 4e-3
    refinements: int = 2
    transforms: int = 3
    hidden: int = 64
    flow_epochs: int = 10
    flow_learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        require_positive(
            transforms=self.transforms,
            hidden=self.hidden,
            flow_epochs=self.flow_epochs,
            flow_learning_rate=self.flow_learning_rate,
        )
        self._autoencoder()

    def _autoencoder(self) -> Autoencoder:
        return Autoencoder(self.dim, self.width, self.epochs, self.batch_size, self.learning_rate, self.refinements)

    def fit(self, data: Data, *, training: Training | None = None) -> State:
        """Weights of autoencoder and flow, with the codes' mean and deviation; raises ValueError as `autoencoder` does."""
        found = self._autoencoder().fit(data, training=training)
        decoded = self._autoencoder().load(found)
        with torch.no_grad():
            codes = torch.cat([decoded.encode(part.float()) for part in torch.split(data.x.detach(), _TOGETHER)])
        center, spread = codes.mean(0), codes.std(0).clamp_min(1e-6)
        standard = (codes - center) / spread
        network = spline_flow(self.dim, self.transforms, self.hidden).to(codes.device)

        def loss(batch: Tensor) -> Tensor:
            given: Tensor = network().log_prob(standard[batch.to(standard.device)])
            return -given.mean()

        schedule = Schedule(self.flow_epochs, self.batch_size, self.flow_learning_rate)
        trained = train(network, loss, len(codes), schedule, what="flow", training=training)
        weights = {f"flow.{name}": value for name, value in trained.items()}
        return found | weights | {"center": center, "spread": spread}

    def load(self, state: State) -> FlowManifold:
        """The fitted manifold, with `log_density` and `sample`."""
        own = {name: value for name, value in state.items() if not name.startswith("flow.")}
        center, spread = own.pop("center"), own.pop("spread")
        decoded = self._autoencoder().load(own)
        with torch.random.fork_rng(devices=[]):
            network = spline_flow(self.dim, self.transforms, self.hidden).to(center.device)
        network.load_state_dict(
            {name.removeprefix("flow."): value for name, value in state.items() if name.startswith("flow.")}
        )
        network.eval().requires_grad_(False)
        return FlowManifold(**vars(decoded), flow=network, center=center, spread=spread)


def spline_flow(dim: int, transforms: int, hidden: int) -> nn.Module:
    """zuko's neural spline flow of codes with `dim` numbers; called, it gives a distribution."""
    import zuko

    return cast("nn.Module", zuko.flows.NSF(dim, transforms=transforms, hidden_features=(hidden, hidden)))


@dataclass(frozen=True, eq=False)
class FlowManifold(DecodedManifold):
    """The decoder's image with the density that the flow gives it: `center` and `spread` (d,) standardise codes."""

    flow: Any
    center: Tensor
    spread: Tensor

    def code_density(self, z: Tensor, /) -> Tensor:
        """Log-density of codes in nats: (B, d) -> (B,), differentiable."""
        given = (z - self.center.to(z)) / self.spread.to(z)
        found: Tensor = self.flow().log_prob(given) - self.spread.to(z).log().sum()
        return found

    def log_density(self, x: Tensor, /) -> Tensor:
        """Log-density in nats, per unit of the manifold's own volume, at each input's projection: (B, *S) -> (B,).

        log p(z) - 1/2 log det J^T J for the refined code z and the decoder's Jacobian J there, which is held still when
        differentiated. It says nothing of the distance to the manifold. Raises ValueError for other shapes and for nan.
        Tu et al. 2023, equation 7, whose determinants of maps between spaces of different dimensions do not exist.
        """
        code = self._code(rows(x, self.shape, dtype=torch.float32))
        jacobian = self.jacobian(code).double()
        volume = 0.5 * torch.linalg.slogdet(jacobian.mT @ jacobian).logabsdet
        density: Tensor = self.code_density(code) - volume
        return density.to(x.dtype)

    @torch.no_grad()
    def sample(self, number: int, generator: torch.Generator, /) -> Tensor:
        """Points of the manifold drawn from the density: (number, *S) float32."""
        noise = torch.randn(number, self.dim, generator=generator, device=generator.device)
        codes: Tensor = self.flow().transform.inv(noise)
        return self.decode(self.center + self.spread * codes)
