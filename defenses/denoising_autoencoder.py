"""Purification by an autoencoder that was trained to remove noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from defenses._images import sides
from harness.progress import steps
from harness.types import Network, Purify, Split, State


@dataclass(frozen=True)
class DenoisingAutoencoder:
    """Replaces every image by what a small autoencoder, trained to remove noise, makes of it.

    The loaded purifier shows `encode` (B, C, H, W) -> (B, latent) and `decode` back into the box, for attacks in the
    latent space; it is differentiable. noise: standard deviation while training, in units of the box; what is
    finer than the code can hold is lost with it (on Fashion-MNIST the squared error of noise 0.2 is halved, that of 0.1
    grows). updates: batches seen by Adam, the learning rate falling to zero on a cosine. width: channels of the first
    convolution. Raises ValueError for inputs that are not (B, C, H, W). Source: Vincent et al. 2008, "Extracting and
    composing robust features with denoising autoencoders"; as a defense, Meng and Chen 2017, "MagNet", section 4.3.
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    latent: int = 64
    width: int = 16
    noise: float = 0.2
    updates: int = 1000
    batch_size: int = 128
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.updates, self.batch_size) < 1:
            raise ValueError("denoising_autoencoder takes positive latent, width, updates and batch_size")
        if self.noise < 0:
            raise ValueError(f"denoising_autoencoder takes noise of at least 0, not {self.noise}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """The weights, trained on clean inputs and noise; the victim is not used."""
        sides(data.x, "denoising_autoencoder")
        network = self._built(tuple(data.x.shape[1:])).to(data.x.device)
        optimizer = torch.optim.Adam(network.parameters())
        for update in steps(range(self.updates), "denoising autoencoder", self.updates):
            x = data.x[torch.randint(len(data), (self.batch_size,)).to(data.x.device)]
            noisy = (x + self.noise * torch.randn(x.shape).to(x)).clamp(0.0, 1.0)
            optimizer.param_groups[0]["lr"] = 0.5 * self.learning_rate * (1 + math.cos(math.pi * update / self.updates))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(mse_loss(network(noisy), x))
            optimizer.step()
        state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return state | {"shape": torch.tensor(data.x.shape[1:])}

    def load(self, state: State, *, victim: Network) -> Purify:
        """The autoencoder (B, C, H, W) -> (B, C, H, W), with `encode` and `decode`."""
        with torch.random.fork_rng(devices=[]):
            network = self._built(tuple(state["shape"].tolist())).to(state["shape"].device)
        network.load_state_dict({name: value for name, value in state.items() if name != "shape"})
        return network.eval().requires_grad_(False)

    def _built(self, shape: tuple[int, ...]) -> _Autoencoder:
        return _Autoencoder(shape, self.width, self.latent)


class _Autoencoder(nn.Module):
    """Two convolutions with stride 2, a linear layer to the latent code, and the way back."""

    def __init__(self, shape: tuple[int, ...], width: int, latent: int) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        small = (2 * width, -(-self.height // 4), -(-self.width // 4))
        self.encode = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(math.prod(small), latent)),
        )
        self.grow = nn.Sequential(
            *(nn.Linear(latent, math.prod(small)), nn.ReLU(), nn.Unflatten(1, small)),
            *(nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Sigmoid()),
        )

    def decode(self, code: Tensor) -> Tensor:
        """Images of codes: (B, latent) -> (B, C, H, W) in [0, 1]."""
        grown: Tensor = self.grow(code)
        return grown[..., : self.height, : self.width]

    def forward(self, x: Tensor) -> Tensor:
        sides(x, "denoising_autoencoder")
        return self.decode(self.encode(x))
