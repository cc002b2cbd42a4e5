"""The image of an autoencoder's decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from geometry.manifolds._autoencoder_network import AutoencoderNetwork
from geometry.manifolds._decoded import DecodedManifold
from geometry.manifolds._rows import Data, State, require_positive, rows, shape_tensor
from geometry.manifolds._training import Schedule, Training, train
from geometry.manifolds.pca import PCA

LEAST_UPDATES = 1500
BEGINNING = 2000  # random points, at most, at whose principal components training begins


@dataclass(frozen=True)
class Autoencoder:
    """What a decoder makes of codes of `dim` numbers, convolutional for images, fully connected for other inputs.

    Training by Adam on the mean squared error begins at the principal components, to which the layers add; the learning rate
    falls to zero on a cosine. On Fashion-MNIST the squared error of test images is 0.57 times that of as many components.
    width: channels after the first convolution. epochs: passes over the data, at least 1,500 updates. refinements:
    Gauss-Newton steps on the code, to the nearest point of the decoder's image rather than the encoder's guess.
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

    def fit(self, data: Data, *, training: Training | None = None) -> State:
        """Weights, float32, trained with numbers from torch's global generator.

        Raises ValueError for one point, for points that are all the same, for numbers that are not finite, for a dim larger
        than the span of the points, and where the loss diverges.
        """
        shape = tuple(data.x.shape[1:])
        x = rows(data.x.detach(), shape, dtype=torch.float32)
        linear = PCA(self.dim).fit(_Rows(x[torch.randperm(len(x))[:BEGINNING].to(x.device)]))
        network = AutoencoderNetwork(shape, self.dim, self.width).to(x.device)
        network.begin(linear["mean"], linear["components"], linear["variances"])

        def loss(batch: Tensor) -> Tensor:
            given = x[batch.to(x.device)]
            return mse_loss(network(given), given) / network.scale.square()

        schedule = Schedule(self.epochs, self.batch_size, self.learning_rate, LEAST_UPDATES)
        state = train(network, loss, len(x), schedule, what="autoencoder", training=training)
        return state | {"shape": shape_tensor(data.x)}

    def load(self, state: State) -> DecodedManifold:
        """The fitted manifold."""
        shape = tuple(state["shape"].tolist())
        with torch.random.fork_rng(devices=[]):
            network = AutoencoderNetwork(shape, self.dim, self.width).to(state["mean"].device)
        network.load_state_dict({name: value for name, value in state.items() if name != "shape"})
        return DecodedManifold(network.eval().requires_grad_(False), shape, self.dim, self.refinements)


@dataclass(frozen=True, eq=False)
class _Rows:
    x: Tensor
