"""What the pictures of Mahler et al. 2024 are drawn from: maps over the views, a manifold, the steps of a search."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from geometry.manifolds.spectral_exterior_calculus import VectorFields
from harness.types import LatentManifold, Network
from leaderboard.papers._mahler_circles import far_on_purpose
from leaderboard.papers._mahler_vehicles import Renderer, Search, Window

Row = dict[str, Any]
SHOWN = 7  # steps of a search at most
_ARROWS = 60


@torch.no_grad()
def view_map(name: str, network: Network, renderer: Renderer, *, label: int, step: float) -> Row:
    """Loss and predicted class of a vehicle at every `step` degrees of azimuth and half of that of look-down angle."""
    azimuths, look_down = torch.arange(0.0, 360.0, step), torch.arange(0.0, 45.1, step / 2)
    views = torch.cartesian_prod(look_down, azimuths).flip(1)
    y = torch.full((len(views),), label)
    pairs = zip(torch.split(views, 256), torch.split(y, 256), strict=True)
    logits = torch.cat([network(renderer.render(b, a)) for a, b in pairs])
    shape = (len(look_down), len(azimuths))
    return {
        "network": name,
        "vehicle": renderer.class_names[label],
        "names": list(renderer.class_names),
        "trained": list(renderer.look_down),
        "azimuths": azimuths.tolist(),
        "look_down": look_down.tolist(),
        "loss": cross_entropy(logits, y, reduction="none").reshape(shape).tolist(),
        "class": logits.argmax(1).reshape(shape).tolist(),
        "right": float((logits.argmax(1) == y).double().mean()),
    }


@torch.no_grad()
def manifold_map(window: Window) -> Row:
    """Coordinates of a window's images (the first three eigenfunctions), their views, and two fields at some of them."""
    functions = window.manifold.diffusion.functions
    fields = VectorFields(window.fields["energies"][:2], window.fields["operators"][:2])
    number = fields.operators.shape[1]
    arrows = fields(functions[:, :number], torch.eye(number, dtype=functions.dtype))[:, :, 1:4]
    chosen = torch.randperm(len(functions), generator=torch.Generator().manual_seed(0))[:_ARROWS]
    return {
        "vehicle": window.renderer.class_names[int(window.y)],
        "coordinates": functions[:, 1:4].tolist(),
        "views": window.views.tolist(),
        "chosen": chosen.tolist(),
        "arrows": arrows[chosen].tolist(),
        "start": window.manifold.encode(window.x.double())[0, 1:4].tolist(),
        "dimension estimate": window.manifold.dimension_estimate,
    }


def gallery(network: Network, window: Window, search: Search, decoder: LatentManifold) -> list[Row]:
    """Steps of a search, the first and the last among them: image, gradient of the loss, its tangent part, labels and class."""
    with far_on_purpose():
        _, iterates = search.run(network, window, decoder)
        basis = window.manifold.tangent_basis(window.x)[0]
        numbers = sorted({round(i) for i in np.linspace(0, len(iterates) - 1, min(SHOWN, len(iterates)))})
        return [_step(network, window, iterates[number], basis, number=number) for number in numbers]


def _step(network: Network, window: Window, x: Tensor, basis: Tensor, *, number: int) -> Row:
    at = x.detach().requires_grad_()
    logits = network(at)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, window.y), at)
    flat = gradient.flatten()
    tangent = (basis @ (basis.T @ flat)).view_as(gradient)
    labels = window.labels(x)
    real = window.real(labels)
    names = window.renderer.class_names
    return {
        "step": number,
        "vehicle": names[int(window.y)],
        "window": window.name,
        "class": names[int(logits.argmax(1))],
        "real class": names[int(network(real).argmax(1))],
        "labels": labels[0].tolist(),
        "gradient": float(flat.norm()),
        "tangent gradient": float(tangent.norm()),
        "image": packed(x[0]),
        "gradient image": packed(_signed(gradient[0])),
        "tangent image": packed(_signed(tangent[0])),
        "real image": packed(real[0]),
    }


def _signed(gradient: Tensor) -> Tensor:
    """A gradient as an image: grey is zero, the largest number is black or white."""
    return 0.5 + gradient / (2 * gradient.abs().max().clamp_min(1e-30))


def packed(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as text, a byte a number, with its shape."""
    data = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return f"{','.join(map(str, data.shape))}:{base64.b64encode(data.tobytes()).decode()}"


def unpacked(text: str) -> NDArray[np.uint8]:
    """The image of a text that `packed` gave, (H, W, C)."""
    shape, data = text.split(":")
    flat = np.frombuffer(base64.b64decode(data), dtype=np.uint8)
    return np.moveaxis(flat.reshape([int(side) for side in shape.split(",")]), 0, 2)
