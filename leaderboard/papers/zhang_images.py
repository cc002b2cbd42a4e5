"""Zhang et al. 2024, section 4.2: what moves along an image manifold and across it change, and how good the manifold is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.data import Data
from harness.types import Attack, Budget, Manifold, Network, Spec, Split, View

Row = dict[str, Any]

OBJECT = 0.1  # a pixel brighter than that belongs to the object
_BATCH = 128
_PICTURES = 6


@dataclass(frozen=True)
class ZhangImages:
    """Perturbations along and across a manifold fitted to images, in L2 (Zhang et al. 2024, Figures 4 to 6).

    Rows of `moves`: what each attack does to the test images that are right when clean. share_on_object: of the squared
    perturbation, on pixels brighter than 0.1; object: the share of such pixels. leakage: the share of the squared
    perturbation that is normal to the manifold at the image. farther: distance to the manifold, less that of the clean image.
    """

    dataset: Spec = Spec.of("dataset", "digits")
    victim: Spec = Spec.of("victim", "cnn")
    manifold: Spec = Spec.of("manifold", "autoencoder", refinements=0)
    normal: Spec = Spec.of("attack", "normal", manifold=Spec.of("manifold", "autoencoder", refinements=0))
    in_manifold: Spec = Spec.of("attack", "in_manifold", manifold=Spec.of("manifold", "autoencoder", refinements=0))
    latent_pgd: Spec = Spec.of("attack", "latent_pgd", manifold=Spec.of("manifold", "autoencoder", refinements=0))
    on_manifold_pgd: Spec = Spec.of(
        "attack", "on_manifold_pgd", manifold=Spec.of("manifold", "autoencoder", refinements=0)
    )
    apgd: Spec = Spec.of("attack", "apgd")
    epsilon: float = 1.0
    inputs: int = 500

    def run(self, *, dataset: Data, victim: Network, manifold: Manifold, **attacks: Attack) -> dict[str, list[Row]]:
        """Tables: the manifold, the moves, and a few images with what was made of them."""
        test, train = dataset.split("test"), dataset.split("train")
        test = test[torch.arange(min(self.inputs, len(test)))]
        right = test[_predicted(victim, test.x) == test.y]
        found = {name: self._attacked(name, attack, victim, right) for name, attack in attacks.items()}
        of = {"data": self.dataset.name, "epsilon": self.epsilon}
        quality = of | _quality(manifold, test.x) | {"accuracy": len(right) / len(test)}
        quality["training_accuracy"] = float((_predicted(victim, train.x[:5000]) == train.y[:5000]).double().mean())
        moves = [of | {"attack": name} | _moved(manifold, victim, right, x) for name, x in found.items()]
        return {"manifold": [quality], "moves": moves, "pictures": _pictures(manifold, victim, right, found)}

    def _attacked(self, name: str, attack: Attack, network: Network, data: Split) -> Tensor:
        budget, view = Budget("l2", self.epsilon), View.of(network, early_exit=True)
        parts = [data[rows] for rows in torch.split(torch.arange(len(data)), _BATCH)]
        return torch.cat([attack.perturb(view, p.x, p.y, budget, p.draws.stream(name)).detach() for p in parts])


@torch.no_grad()
def _predicted(network: Network, x: Tensor) -> Tensor:
    return torch.cat([network(part).argmax(1) for part in torch.split(x, _BATCH)])


def _length(x: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return found


@torch.no_grad()
def _quality(manifold: Manifold, x: Tensor) -> Row:
    """The manifold's dimension and the median distance of images to it, also as a share of their length about the mean."""
    distance = torch.cat([manifold.distance(part) for part in torch.split(x, _BATCH)])
    spread = _length(x - x.mean(0))
    return {
        "dimension": manifold.dim,
        "distance": float(distance.median()),
        "relative": float((distance / spread.clamp_min(1e-12)).median()),
    }


@torch.no_grad()
def _moved(manifold: Manifold, network: Network, data: Split, x: Tensor) -> Row:
    change = x - data.x
    square = change.flatten(1).square()
    energy = square.sum(1)
    moved = energy > 0
    on = (data.x > OBJECT).flatten(1)
    parts = list(zip(torch.split(data.x, _BATCH), torch.split(change, _BATCH), strict=True))
    normal = torch.cat([_normal_share(manifold, clean, part) for clean, part in parts])
    farther = torch.cat([manifold.distance(clean + part) - manifold.distance(clean) for clean, part in parts])
    return {
        "images": len(data),
        "success": float((_predicted(network, x) != data.y).double().mean()),
        "size": _median(energy.sqrt()[moved]),
        "share_on_object": _median((square * on).sum(1)[moved] / energy[moved]),
        "object": float(on.double().mean()),
        "leakage": _median(normal[moved]),
        "farther": _median(farther[moved]),
    }


def _normal_share(manifold: Manifold, x: Tensor, change: Tensor) -> Tensor:
    """The share of |change|^2 that is normal to the manifold at x: (B,), 0 where nothing changed."""
    flat = change.flatten(1)[..., None]
    along = (manifold.tangent_basis(x).mT @ flat).square().sum((1, 2))
    whole = flat.square().sum((1, 2))
    return torch.where(whole > 0, 1 - along / whole.clamp_min(1e-30), 0.0)


def _median(values: Tensor) -> float | None:
    return float(values.median()) if len(values) else None


@torch.no_grad()
def _pictures(manifold: Manifold, network: Network, data: Split, found: Mapping[str, Tensor]) -> list[Row]:
    """The first images that moves along and across both broke, as nested lists (C, H, W) in thousandths; none for flat inputs."""
    if data.x.ndim != 4:
        return []
    names = ("in_manifold", "normal")
    broken = torch.stack([_predicted(network, found[name]) != data.y for name in names]).all(0)
    rows = broken.nonzero()[:_PICTURES, 0]
    if not len(rows):
        return []
    shown = {"clean": data.x[rows], "projection": manifold.project(data.x[rows])}
    shown |= {name: found[name][rows] for name in names}
    return [
        {"index": int(data.index[row]), "label": int(data.y[row])}
        | {name: (1000 * images[place]).round().int().tolist() for name, images in shown.items()}
        for place, row in enumerate(rows)
    ]
