"""The toy sets and networks of Zhang et al. 2024, section 3, and their risks by grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geometry.manifolds.circle import Circle
from geometry.manifolds.plane import Plane
from geometry.risk.decomposition import attribution, flags, risks
from geometry.risk.radii import Neighbourhood, radii
from geometry.risk.surroundings import box_grid, golden_lattice
from harness.progress import steps
from leaderboard.papers._zhang_theorems import on_circle

Row = dict[str, Any]
Score = Callable[[Tensor], Tensor]

NORMS = {"linf": inf, "l2": 2.0}
_POINTS = 1000  # of the training set
_BATCH = 100
_WIDTH = 64
_ATTACK_STEPS = 5


@dataclass(frozen=True, eq=False)
class Toy:
    """A manifold with a rule that labels it, what is searched about it, and how its networks are trained."""

    name: str
    rule: Score
    x: Tensor
    around: Neighbourhood
    epsilons: tuple[float, ...]
    hidden: int
    epochs: int
    decay: float


def circle(epochs: int, inputs: int) -> Iterator[Toy]:
    """The unit circle with one boundary, x1 = 0, and with two, x1 x2 = 0; networks 2-64-1."""
    spacing = 0.01
    surroundings = box_grid((-1.3, -1.3), (1.3, 1.3), spacing=spacing)
    around = Neighbourhood(Circle().load({}), on_circle(4000), surroundings, spacing, 0.6)
    epsilons = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    for name, rule in (("single", lambda v: v[:, 0]), ("double", lambda v: v[:, 0] * v[:, 1])):
        yield Toy(name, rule, on_circle(inputs), around, epsilons, 1, epochs, 0.0)


def plane(epochs: int, inputs: int) -> Iterator[Toy]:
    """The square [-pi, pi]^2 at x3 = 0 with x1 = sin x2 as boundary, and with x2 = 0 as another; networks 3-64-64-64-1."""
    spacing, far = 0.08, pi + 0.4
    surroundings = box_grid((-far, -far, -0.4), (far, far, 0.4), spacing=spacing)
    nodes = functional.pad(box_grid((-pi, -pi), (pi, pi), spacing=0.06), (0, 1))
    around = Neighbourhood(Plane().load({}), nodes, surroundings, spacing, 0.8)
    x = functional.pad(golden_lattice(inputs, low=-pi, high=pi), (0, 1))
    rules: tuple[tuple[str, Score], ...] = (
        ("single", lambda v: v[:, 0] - v[:, 1].sin()),
        ("double", lambda v: (v[:, 0] - v[:, 1].sin()) * v[:, 1]),
    )
    for name, rule in rules:
        yield Toy(name, rule, x, around, (0.1, 0.2, 0.3, 0.4), 3, epochs, 0.001)


def table(toy: Toy, budget: float) -> Iterator[Row]:
    """Risks of the rule itself, of f and of f^adv, trained at an L_inf budget: one row a norm and an epsilon."""
    classifiers: tuple[tuple[str, Callable[[], Score]], ...] = (
        ("labels", lambda: toy.rule),
        ("f", lambda: trained(toy, 0.0)),
        ("f_adv", lambda: trained(toy, budget)),
    )
    labels = toy.rule(toy.x).sign()
    for classifier, made in classifiers:
        score = made()
        for norm, order in NORMS.items():
            found = radii(score, toy.x, labels, around=toy.around, norm=order)
            for epsilon in toy.epsilons:
                at = flags(found, epsilon)
                causes = {f"by_{name}": share for name, share in attribution(at).items()}
                named = {"boundary": toy.name, "classifier": classifier, "norm": norm, "epsilon": epsilon}
                yield named | risks(at) | causes


def trained(toy: Toy, budget: float) -> Score:
    """A network by SGD, rate 0.1, on the logistic loss; with a budget on inputs attacked by PGD in L_inf."""
    torch.manual_seed(0)
    widths = [toy.x.shape[1], *[_WIDTH] * toy.hidden, 1]
    layers = [module for a, b in itertools.pairwise(widths) for module in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*layers[:-1])
    x = toy.around.manifold.sample(_POINTS, torch.Generator().manual_seed(1))  # type: ignore[attr-defined]
    y = (toy.rule(x) > 0).float()
    x = x.float()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=toy.decay)
    for _ in steps(range(toy.epochs), f"{toy.name} {budget:g}"):
        for rows in torch.randperm(_POINTS).split(_BATCH):  # type: ignore[no-untyped-call]
            inputs = _attacked(network, x[rows], y[rows], budget) if budget else x[rows]
            loss = functional.binary_cross_entropy_with_logits(network(inputs)[:, 0], y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    network.requires_grad_(False)

    def score(points: Tensor) -> Tensor:
        found: Tensor = network(points.float())[:, 0]
        return found.to(points.dtype)

    return score


def _attacked(network: nn.Module, x: Tensor, y: Tensor, budget: float) -> Tensor:
    """PGD in the ambient L_inf ball from a random start."""
    offset = (2 * torch.rand_like(x) - 1) * budget
    for _ in range(_ATTACK_STEPS):
        offset.requires_grad_()
        loss = functional.binary_cross_entropy_with_logits(network(x + offset)[:, 0], y)
        (gradient,) = torch.autograd.grad(loss, offset)
        offset = (offset.detach() + 2.5 / _ATTACK_STEPS * budget * gradient.sign()).clamp(-budget, budget)
    return x + offset
