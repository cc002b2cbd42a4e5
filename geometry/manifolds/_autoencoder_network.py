"""The network of an autoencoder: principal components, and what layers add to them both ways."""

from __future__ import annotations

from itertools import pairwise
from math import log2, prod

import torch
from torch import Tensor, nn

SMALLEST = 7.0  # pixels to which the shorter side is about halved


class AutoencoderNetwork(nn.Module):
    """Codes and points, each an affine map plus a smooth network of it, which adds nothing until it is trained.

    Among images (C, H, W) of 4 pixels or more the layers are convolutions with stride 2, else fully connected. Inputs are
    counted from `mean` (D,) in units of `scale`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], dim: int, width: int) -> None:
        super().__init__()
        features = prod(shape)
        self.shape = shape
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))
        self.components_in, self.components_out = nn.Linear(features, dim), nn.Linear(dim, features)
        images = len(shape) == 3 and min(shape[1:]) >= 4
        self.layers_in, self.layers_out = (convolutions if images else connections)(shape, dim, width)
        for last in (self.layers_in[-1], self.layers_out[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def begin(self, mean: Tensor, components: Tensor, variances: Tensor) -> None:
        """Set what principal components (D, d) with their variances give: codes of variance 1."""
        deviations = variances.sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(deviations.square().sum().div(len(mean)).sqrt())
        self.components_in.weight.copy_((components / deviations).T * self.scale)
        self.components_out.weight.copy_(components * deviations / self.scale)
        for layer in (self.components_in, self.components_out):
            nn.init.zeros_(layer.bias)

    def encode(self, x: Tensor) -> Tensor:
        """Codes of rows: (B, D) -> (B, d)."""
        given = (x - self.mean) / self.scale
        code: Tensor = self.components_in(given) + self.layers_in(given.reshape(-1, *self.shape))
        return code

    def decode(self, z: Tensor) -> Tensor:
        """Rows of codes: (B, d) -> (B, D)."""
        added: Tensor = self.layers_out(z)
        if added.ndim == 4:
            added = added[..., : self.shape[1], : self.shape[2]].flatten(1)
        found: Tensor = self.components_out(z) + added
        return self.mean + self.scale * found

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def convolutions(shape: tuple[int, ...], dim: int, width: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Layers (B, C, H, W) -> (B, d) and back to images that are at most a few pixels larger."""
    channels, height, side = shape
    halvings = max(1, round(log2(min(height, side) / SMALLEST)))
    sizes = [channels, *(width * 2**place for place in range(halvings))]
    small = (sizes[-1], -(-height // 2**halvings), -(-side // 2**halvings))
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for before, after in pairwise(sizes):
        down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        up = [nn.SiLU(), nn.ConvTranspose2d(after, before, 4, stride=2, padding=1), *up]
    return (
        nn.Sequential(*down, nn.Flatten(), nn.Linear(prod(small), dim)),
        nn.Sequential(nn.Linear(dim, prod(small)), nn.Unflatten(1, small), *up),
    )


def connections(shape: tuple[int, ...], dim: int, width: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Layers (B, *S) -> (B, d) and back to (B, D), with eight times `width` units between."""
    hidden = 8 * width
    return (
        nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), hidden), nn.SiLU(), nn.Linear(hidden, dim)),
        nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, prod(shape))),
    )
