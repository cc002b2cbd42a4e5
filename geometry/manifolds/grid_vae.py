"""A variational autoencoder whose prior is a grid of normal distributions, with dimensions that may stand for attributes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.manifolds._rows import Data, State, require_positive, shape_tensor
from geometry.manifolds._training import Schedule, Training, train
from geometry.manifolds._variational import (
    VariationalManifold,
    VariationalNetwork,
    centered_divergence,
    grid_divergence,
    log_likelihood,
)
from geometry.manifolds.variational_autoencoder import network_of, unit_rows


@dataclass(frozen=True)
class GridVAE:
    """Codes about the points of a grid: each dimension of a code prefers whole numbers, as `grid_deviation` allows.

    levels: how many points a dimension of the grid has, 0 .. levels - 1, from which samples are drawn. attributes: a row
    of 0 and 1 for each class; the first dimensions of a code are pulled to them in place of the nearest point (guided), the
    others to theirs (partly guided where dim is larger). Below 1/4 neighbours of the grid overlap by less than 5 %.
    Everything else is as in `variational_autoencoder`. Source: Tu et al. 2023, section 3, equation 28.
    """

    dim: int = 16
    grid_deviation: float = 0.25
    levels: int = 2
    attributes: tuple[tuple[int, ...], ...] = ()
    width: int = 32
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    deviation: float = 0.2
    refinements: int = 2

    def __post_init__(self) -> None:
        require_positive(
            dim=self.dim,
            grid_deviation=self.grid_deviation,
            levels=self.levels,
            width=self.width,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            deviation=self.deviation,
        )
        lengths = {len(row) for row in self.attributes}
        if len(lengths) > 1 or (lengths and not 0 < lengths.copy().pop() <= self.dim):
            raise ValueError(
                f"attributes are rows of one length, at most dim = {self.dim}, not rows of {sorted(lengths)}"
            )
        if self.refinements < 0:
            raise ValueError(f"refinements must be at least 0, not {self.refinements}")

    def fit(self, data: Data, *, training: Training | None = None) -> State:
        """Weights, float32, trained with numbers from torch's global generator.

        Raises ValueError as `variational_autoencoder` does, and for attributes without classes or with fewer rows than those.
        """
        x, centers = unit_rows(data.x), self._centers(data)
        network = VariationalNetwork(tuple(data.x.shape[1:]), self.dim, self.width).to(x.device)

        def loss(batch: Tensor) -> Tensor:
            rows = batch.to(x.device)
            given = x[rows]
            mean, log_variance = network.posterior(given)
            z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape).to(mean)
            center = mean.detach().round().clamp(0, self.levels - 1)
            if centers is not None:
                center = torch.cat([centers[rows], center[:, centers.shape[1] :]], dim=1)
            divergence = centered_divergence(mean, log_variance, center, self.grid_deviation)
            bound = log_likelihood(given, network.decode(z), self.deviation) - divergence
            return -bound.mean() / x.shape[1]

        schedule = Schedule(self.epochs, self.batch_size, self.learning_rate)
        state = train(network, loss, len(x), schedule, what="grid VAE", training=training)
        return state | {"shape": shape_tensor(data.x)}

    def _centers(self, data: Data) -> Tensor | None:
        """The attributes of each input (N, A), or None."""
        if not self.attributes:
            return None
        labels = getattr(data, "y", None)
        if labels is None or int(labels.max()) >= len(self.attributes):
            known = "none" if labels is None else int(labels.max()) + 1
            raise ValueError(f"attributes are given for {len(self.attributes)} classes, but the data have {known}")
        return torch.tensor(self.attributes, dtype=torch.float32, device=data.x.device)[labels]

    def load(self, state: State) -> VariationalManifold:
        """The fitted manifold, with `elbo`, `posterior` and `sample`."""
        network = network_of(state, self.dim, self.width)

        def prior(number: int, generator: torch.Generator) -> Tensor:
            shape, device = (number, self.dim), generator.device
            points = torch.randint(self.levels, shape, generator=generator, device=device)
            return points + self.grid_deviation * torch.randn(shape, generator=generator, device=device)

        return VariationalManifold(
            network,
            network.shape,
            self.dim,
            self.refinements,
            deviation=self.deviation,
            divergence=grid_divergence(self.grid_deviation, self.levels),
            prior=prior,
        )
