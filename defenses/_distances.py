"""Distances between images: squared error, structural similarity, and the LPIPS formula on a network's own layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

Distance = Callable[[Tensor, Tensor], Tensor]  # images in [0, 1], (B, C, H, W) twice -> (B,)
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.ELU)
WINDOW, WIDTH = 11, 1.5  # of structural similarity, in pixels


def mean_square(x: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference."""
    return (x - other).square().flatten(1).mean(1)


def dissimilarity(x: Tensor, other: Tensor) -> Tensor:
    """1 less the structural similarity, in Gaussian windows of 11 pixels or what fits. Source: Wang et al. 2004, SSIM."""
    size = min(WINDOW, (min(x.shape[-2:]) - 1) // 2 * 2 + 1)
    line = torch.exp(-0.5 * ((torch.arange(size) - size // 2) / WIDTH).square()).to(x)
    line = line / line.sum()
    window = (line[:, None] * line).expand(x.shape[1], 1, size, size)

    def blurred(images: Tensor) -> Tensor:
        return conv2d(images, window, groups=x.shape[1])

    one, two = blurred(x), blurred(other)
    spreads = blurred(x.square()) - one.square() + blurred(other.square()) - two.square()
    common = blurred(x * other) - one * two
    low, high = 0.01**2, 0.03**2
    similarity = (2 * one * two + low) * (2 * common + high)
    similarity = similarity / ((one.square() + two.square() + low) * (spreads + high))
    return 1 - similarity.flatten(1).mean(1)


def perceptual(network: nn.Module, x: Tensor, other: Tensor) -> Tensor:
    """The LPIPS formula without learned weights on the network's activation maps.

    Channels scaled to length 1, squared differences summed over channels, averaged over pixels, summed over layers.
    Raises ValueError for a network without such maps. Source: Zhang R. et al. 2018, equation 1 (weights 1).
    """
    total = torch.zeros(len(x)).to(x)
    first, second = maps(network, x), maps(network, other)
    if not first:
        raise ValueError("the distance `features` needs a victim with convolutions, such as cnn; take mse or ssim")
    for one, two in zip(first, second, strict=True):
        total = total + (_unit(one) - _unit(two)).square().sum(1).flatten(1).mean(1)
    return total


def maps(network: nn.Module, x: Tensor) -> list[Tensor]:
    """What the activations in a network give of images, those with pixels only: (B, C', H', W') each."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        if output.ndim == 4:
            found.append(output)

    hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, ACTIVATIONS)]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _unit(images: Tensor) -> Tensor:
    return images / (images.square().sum(1, keepdim=True) + 1e-10).sqrt()
