"""The image of an autoencoder's decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from geometry.manifolds._autoencoder_network import AutoencoderNetwork
from geometry.manifolds._rows import Data, State, lengths, like, require_positive, rows, shape_tensor
from geometry.manifolds.pca import PCA

LEAST_UPDATES = 1500
DAMPING = 1e-4  # of the mean square of the Jacobian's columns
SHARES = (1.0, 0.5, 0.25, 0.125)  # of a Gauss-Newton step, of which the best is taken
TOGETHER = 1 << 24  # numbers of the Jacobians that are held together


@dataclass(frozen=True)
class Autoencoder:
    """What a decoder makes of codes of `dim` numbers, convolutional for images, fully connected for other inputs.

    Training by Adam on the mean squared error begins at the principal components, to which the layers add, so that no
    affine subspace is nearer to the data it was trained on; the learning rate falls to zero on a cosine. width: channels
    after the first convolution. epochs: passes over the data, at least 1,500 updates. refinements: Gauss-Newton steps on the
    code, to the nearest point of the decoder's image rather than the encoder's guess.
    Source: Zhang et al. 2024, section 4, whose manifold is a decoder's image.
    """

    dim: int = 16
    width: int = 16
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 4e-3
    refinements: int = 2

    def __post_init__(self) -> None:
        require_positive(
            width=self.width, epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate
        )
        if self.refinements < 0:
            raise ValueError(f"refinements must be at least 0, not {self.refinements}")

    def fit(self, data: Data) -> State:
        """Weights, float32, trained with numbers from torch's global generator.

        Raises ValueError for one point, for points that are all the same, for numbers that are not finite, for a dim larger
        than the span of the points, and where the loss diverges.
        """
        linear = PCA(self.dim).fit(data)
        shape = tuple(data.x.shape[1:])
        x = rows(data.x.detach(), shape, dtype=torch.float32)
        network = AutoencoderNetwork(shape, self.dim, self.width).to(x.device)
        network.begin(linear["mean"], linear["components"], linear["variances"])
        self._train(network, x)
        state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
        return state | {"shape": shape_tensor(data.x)}

    def _train(self, network: AutoencoderNetwork, x: Tensor) -> None:
        size = min(self.batch_size, len(x))
        updates = max(LEAST_UPDATES, self.epochs * (len(x) // size))
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        waiting: list[Tensor] = []
        loss = torch.zeros(())
        for _ in range(updates):
            waiting = waiting or list(torch.randperm(len(x))[: len(x) // size * size].view(-1, size))
            batch = x[waiting.pop().to(x.device)]
            loss = mse_loss(network(batch), batch) / network.scale.square()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        if not math.isfinite(float(loss.detach())):
            raise ValueError(
                f"the autoencoder's loss is {float(loss.detach())}; lower learning_rate (it is {self.learning_rate:g})"
            )

    def load(self, state: State) -> DecodedManifold:
        """The fitted manifold."""
        shape = tuple(state["shape"].tolist())
        with torch.random.fork_rng(devices=[]):
            network = AutoencoderNetwork(shape, self.dim, self.width).to(state["mean"].device)
        network.load_state_dict({name: value for name, value in state.items() if name != "shape"})
        return DecodedManifold(network.eval().requires_grad_(False), shape, self.dim, self.refinements)


@dataclass(frozen=True, eq=False)
class DecodedManifold:
    """The points decode(z), z (d,), among inputs of a shape S with D numbers; computed in float32.

    The nearest point is searched from the encoder's code, with steps that never lead farther away: it is a local minimum at
    best. Gradients of codes and projections pass through the encoder, what the search added held still.
    """

    network: AutoencoderNetwork
    shape: tuple[int, ...]
    dim: int
    refinements: int

    def encode(self, x: Tensor, /) -> Tensor:
        """The refined code of each input: (B, *S) -> (B, d). Raises ValueError for other shapes, for nan and infinity."""
        return self._code(rows(x, self.shape, dtype=torch.float32)).to(x.dtype)

    def decode(self, z: Tensor, /) -> Tensor:
        """The points of codes: (B, d) -> (B, *S)."""
        return self._on(z).decode(z.float()).to(z.dtype).reshape(len(z), *self.shape)

    def project(self, x: Tensor, /) -> Tensor:
        """The point of the refined code: (B, *S) -> (B, *S); raises as `encode` does."""
        return like(self._projected(rows(x, self.shape, dtype=torch.float32)), x)

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the projection, the reconstruction error: (B, *S) -> (B,); raises as `encode` does."""
        given = rows(x, self.shape, dtype=torch.float32)
        return lengths(given - self._projected(given), x)

    @torch.no_grad()
    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """Orthonormal columns of the decoder's Jacobian at the refined code: (B, *S) -> (B, D, d); raises as `encode` does."""
        code = self._code(rows(x, self.shape, dtype=torch.float32))
        basis: Tensor = torch.linalg.qr(self.jacobian(code)).Q
        return basis.to(x.dtype)

    @torch.no_grad()
    def jacobian(self, z: Tensor, /) -> Tensor:
        """The decoder's Jacobian at codes, by forward differentiation: (B, d) -> (B, D, d)."""
        network, given = self._on(z), z.detach().float()
        size = max(1, TOGETHER // (math.prod(self.shape) * self.dim))
        return torch.cat([_jacobian(network, block) for block in torch.split(given, size)]).to(z.dtype)

    def _on(self, z: Tensor) -> AutoencoderNetwork:
        if self.network.mean.device != z.device:
            self.network.to(z.device)
        return self.network

    def _projected(self, given: Tensor) -> Tensor:
        return self._on(given).decode(self._code(given))

    def _code(self, given: Tensor) -> Tensor:
        code = self._on(given).encode(given)
        refined = code.detach()
        for _ in range(self.refinements):
            refined = self._refined(refined, given.detach())
        return code + (refined - code.detach())

    @torch.no_grad()
    def _refined(self, code: Tensor, given: Tensor) -> Tensor:
        """Codes (B, d) after a damped Gauss-Newton step, as much of it as leads nearest to the rows (B, D), or none."""
        jacobian = self.jacobian(code)
        offset = given - self.network.decode(code)
        gram = jacobian.mT @ jacobian
        damping = DAMPING * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(gram.dtype).tiny)
        damped = gram + damping[:, None, None] * torch.eye(self.dim).to(gram)
        step = torch.linalg.solve(damped, (jacobian.mT @ offset[..., None]))[..., 0]
        best, nearest = code, torch.linalg.vector_norm(offset, dim=1)
        for share in SHARES:
            tried = code + share * step
            far = torch.linalg.vector_norm(given - self.network.decode(tried), dim=1)
            best = torch.where((far < nearest)[:, None], tried, best)
            nearest = torch.minimum(far, nearest)
        return best


def _jacobian(network: nn.Module, z: Tensor) -> Tensor:
    decode = cast("AutoencoderNetwork", network).decode
    directions = torch.eye(z.shape[1]).to(z)

    def along(direction: Tensor) -> Tensor:
        return cast("Tensor", torch.func.jvp(decode, (z,), (direction.expand_as(z),))[1])

    return torch.func.vmap(along, out_dims=-1)(directions)
