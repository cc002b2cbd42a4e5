"""The network of a denoising diffusion model: a small U-Net of diffusers on patches of images, layers for other inputs."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle

from geometry.manifolds._denoising import time_of

TIMES = 1000.0  # what networks call time 1
FREQUENCIES = 16


class DenoiserNetwork(nn.Module):
    """The noise in noisy inputs (B, *S) with a share kept (B,): (B, *S).

    The layers find v = sqrt(abar) noise - sqrt(1 - abar) image, whose scale is that of the image at all times (Salimans and
    Ho 2022, "Progressive distillation"), and the noise follows from it. Images of 4 pixels or more are cut into patches of
    `patch` pixels, filled up at the border where they do not divide them. size: width and patch; spread: the images' mean
    variance.
    """

    size: Tensor
    spread: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, patch: int) -> None:
        super().__init__()
        self.shape, self.patch = shape, patch
        self.register_buffer("size", torch.tensor([width, patch]))
        self.register_buffer("spread", torch.ones(()))
        self.images = len(shape) == 3 and min(shape[1:]) >= 4
        self.layers: nn.Module = _unet(shape, width, patch) if self.images else _dense(math.prod(shape), width)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        if not len(x):
            return x
        share = kept.view(-1, *(1,) * len(self.shape)).to(x)
        found = self._on_images(x, kept) if self.images else self._on_rows(x, kept)
        return share.sqrt() * found + (1 - share).sqrt() * x

    def _on_images(self, x: Tensor, kept: Tensor) -> Tensor:
        _, height, width = self.shape
        unit = 2 * self.patch
        filled = pad(x, (0, -width % unit, 0, -height % unit), value=-1.0)
        found = cast(Any, self.layers)(pixel_unshuffle(filled, self.patch), TIMES * time_of(kept).to(x)).sample
        return pixel_shuffle(found, self.patch)[..., :height, :width]

    def _on_rows(self, x: Tensor, kept: Tensor) -> Tensor:
        rates = torch.logspace(0, 2, FREQUENCIES, device=x.device, dtype=x.dtype)
        phase = time_of(kept).to(x)[:, None] * rates
        found: Tensor = self.layers(torch.cat([x.flatten(1), phase.sin(), phase.cos()], 1))
        return found.view_as(x)


def _unet(shape: tuple[int, ...], width: int, patch: int) -> nn.Module:
    """A U-Net of two resolutions, `width` and twice as many channels, without attention."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    channels = shape[0] * patch**2
    network: nn.Module = UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(width, 2 * width),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        add_attention=False,
    )
    return network


def _dense(features: int, width: int) -> nn.Module:
    hidden = 4 * width
    return nn.Sequential(
        *(nn.Linear(features + 2 * FREQUENCIES, hidden), nn.SiLU()),
        *(nn.Linear(hidden, hidden), nn.SiLU()),
        *(nn.Linear(hidden, hidden), nn.SiLU()),
        nn.Linear(hidden, features),
    )
