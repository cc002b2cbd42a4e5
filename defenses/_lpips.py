"""The learned perceptual distance LPIPS on AlexNet, from weights given by a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d

from defenses._distances import Distance
from harness.types import State

LEAST = 32  # pixels that AlexNet's five layers need
LAYERS = (("slice1.0", 4, 2), ("slice2.3", 1, 2), ("slice3.6", 1, 1), ("slice4.8", 1, 1), ("slice5.10", 1, 1))
CENTER, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def lpips(path: Path) -> Distance:
    """The distance of images (B, 1 or 3, H, W) in [0, 1], those below 32 pixels enlarged: (B,).

    path: the state dict of `lpips.LPIPS(net="alex")`, saved by torch or as safetensors. Raises FileNotFoundError, and
    ValueError for other contents. Source: Zhang R. et al. 2018, "The unreasonable effectiveness of deep features".
    """
    state = _read(path)

    def distance(x: Tensor, other: Tensor) -> Tensor:
        total = torch.zeros(len(x)).to(x)
        for place, (one, two) in enumerate(zip(_maps(state, x), _maps(state, other), strict=True)):
            weights = state[f"lin{place}.model.1.weight"].to(x)
            total = total + conv2d((_unit(one) - _unit(two)).square(), weights).flatten(1).mean(1)
        return total

    return distance


def _read(path: Path) -> State:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; lpips expects the saved state dict of lpips.LPIPS(net='alex')"
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    needed = [f"net.{name}.{what}" for name, _, _ in LAYERS for what in ("weight", "bias")]
    needed += [f"lin{place}.model.1.weight" for place in range(len(LAYERS))]
    missing = [name for name in needed if name not in state]
    if missing:
        raise ValueError(f"{path} lacks {missing[0]} of {len(missing)}; save the state dict of lpips.LPIPS(net='alex')")
    return state


def _maps(state: State, x: Tensor) -> list[Tensor]:
    """What the five layers give of images."""
    if min(x.shape[-2:]) < LEAST:
        x = interpolate(x, size=(max(LEAST, x.shape[-2]), max(LEAST, x.shape[-1])), mode="bilinear")
    x = 2 * x.expand(-1, 3, -1, -1) - 1
    x = (x - torch.tensor(CENTER).to(x)[:, None, None]) / torch.tensor(SCALE).to(x)[:, None, None]
    found: list[Tensor] = []
    for place, (name, stride, padding) in enumerate(LAYERS):
        x = max_pool2d(x, 3, 2) if place in (1, 2) else x
        weight, bias = state[f"net.{name}.weight"].to(x), state[f"net.{name}.bias"].to(x)
        x = conv2d(x, weight, bias, stride=stride, padding=padding).relu()
        found.append(x)
    return found


def _unit(images: Tensor) -> Tensor:
    return images / (images.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt() + 1e-10)
