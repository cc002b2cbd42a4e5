"""The networks of Mahler et al. 2024: trained plainly, and by training defenses on attacked images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geometry.manifolds._diffusion import DiffusionManifold
from geometry.manifolds.spectral_exterior_calculus import SpectralExteriorCalculus
from harness.rank import wilson
from harness.spec import build
from harness.types import Attack, Budget, Draws, Network, Spec, Split, View
from leaderboard.papers._mahler_circles import far_on_purpose
from leaderboard.papers._mahler_vehicles import Points, Renderer

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Classwise:
    """An attack along manifolds, each input on that of its class."""

    attack: Any
    manifolds: Mapping[int, DiffusionManifold]

    @property
    def norms(self) -> tuple[str, ...]:
        """Those of the attack."""
        return tuple(self.attack.norms)

    @property
    def minimal(self) -> bool:
        """As the attack."""
        return bool(self.attack.minimal)

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """Class by class: (B, *S) -> (B, *S)."""
        found = x.clone()
        for label in torch.unique(y).tolist():
            rows = (y == label).nonzero()[:, 0]
            chosen = self.manifolds[label]
            found[rows] = self.attack.perturb(view, x[rows], y[rows], budget, draws[rows], manifold=chosen)
        return found


def class_manifolds(data: Split, kind: SpectralExteriorCalculus) -> dict[int, DiffusionManifold]:
    """The manifold of each class's images."""
    return {label: kind.load(kind.fit(Points(data.x[data.y == label]))) for label in torch.unique(data.y).tolist()}


def trained(victim: Network, defense: Spec, data: Split, kind: SpectralExteriorCalculus) -> Network:
    """The victim trained on by a defense; where its attack goes along a manifold, along that of each input's class."""
    part = build(defense)
    attack = build(part.attack)
    made: Any = Classwise(attack, class_manifolds(data, kind)) if hasattr(attack, "manifold") else attack
    with far_on_purpose():
        state = part.fit(data, victim=victim, attack=made)
    network: Network = part.load(state, victim=victim, attack=made)
    return network


def accuracies(
    networks: Mapping[str, Network],
    test: Split,
    renderer: Renderer,
    *,
    attack: Attack,
    budgets: Sequence[Budget],
    beyond: float,
) -> Iterator[Row]:
    """Accuracy with its interval: on clean test images, on views that go beyond those trained on, and under attack."""
    low, high = renderer.look_down
    views = _views(len(test), (low - beyond, high + beyond))
    wider = renderer.render(test.y, views)
    outside = (views[:, 1] < low) | (views[:, 1] > high)
    for name, network in networks.items():
        row: Row = {"network": name, "images": len(test)} | _share("clean", network, test.x, test.y)
        row |= _share("beyond", network, wider[outside], test.y[outside])
        for budget in budgets:
            view, draws = View.of(network), test.draws.stream("robust")
            x = attack.perturb(view, test.x, test.y, budget, draws)
            row |= _share(f"{budget.norm} {budget.epsilon:.3g}", network, x, test.y)
        yield row


def _views(number: int, look_down: tuple[float, float]) -> Tensor:
    turn, down = torch.rand(2, number, generator=torch.Generator().manual_seed(1))
    return torch.stack([360 * turn, look_down[0] + (look_down[1] - look_down[0]) * down], dim=1)


@torch.no_grad()
def _share(name: str, network: Network, x: Tensor, y: Tensor) -> Row:
    right = sum(
        int((network(a).argmax(1) == b).sum()) for a, b in zip(torch.split(x, 256), torch.split(y, 256), strict=True)
    )
    rate = wilson(right, len(y))
    return {name: rate.value, f"{name} low": rate.low, f"{name} high": rate.high}
