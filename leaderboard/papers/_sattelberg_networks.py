"""The networks of Sattelberg et al. 2023: on images, as section 2.5 has them, and on points of the plane."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.progress import steps
from harness.types import Split

INNER = 0.5  # radius of the disc; the ring lies between the radii sqrt(2) and sqrt(3) times as large


class Standardised(nn.Module):
    """A network of inputs in [0, 1] as one of standardised inputs, (x - mean) / deviation."""

    def __init__(self, network: nn.Module, mean: float, deviation: float) -> None:
        super().__init__()
        self.network, self.mean, self.deviation = network, mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        """Logits of standardised inputs (B, *S)."""
        logits: Tensor = self.network(x * self.deviation + self.mean)
        return logits


@dataclass(frozen=True, eq=False)
class Points:
    """Inputs in the plane (N, 2) and their classes (N,)."""

    x: Tensor
    y: Tensor


def dense(pixels: int, classes: int) -> nn.Sequential:
    """pixels-128-classes, with dropout as in the authors' code."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes))


def convolutional(channels: int, classes: int) -> nn.Sequential:
    """Two 5x5 convolutions, each pooled and then rectified, and 320-50-classes, for images of 28x28."""
    first = (nn.Conv2d(channels, 10, 5), nn.MaxPool2d(2), nn.ReLU())
    second = (nn.Conv2d(10, 20, 5), nn.Dropout2d(0.5), nn.MaxPool2d(2), nn.ReLU())
    last = (nn.Flatten(), nn.Linear(320, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, classes))
    return nn.Sequential(*first, *second, *last)


def plane(widths: tuple[int, ...]) -> nn.Sequential:
    """A plain ReLU network with the given numbers of inputs, hidden units and outputs."""
    pairs = itertools.pairwise(widths)
    return nn.Sequential(*[module for a, b in pairs for module in (nn.Linear(a, b), nn.ReLU())][:-1])


def train(network: nn.Module, data: Split, *, epochs: int, seed: int) -> nn.Module:
    """Section 2.5: stochastic gradient descent, rate 0.01, momentum 0.5, weight decay 0.01, batches of 64; in evaluation mode."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.reset_parameters()
    optimizer = torch.optim.SGD(network.to(data.x.device).parameters(), lr=0.01, momentum=0.5, weight_decay=0.01)
    network.train()
    for _ in steps(range(epochs), "training"):
        for rows in torch.split(torch.randperm(len(data), device=data.x.device), 64):
            loss = functional.cross_entropy(network(data.x[rows]), data.y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval().requires_grad_(False)


def train_plane(network: nn.Module, data: Points, *, epochs: int) -> nn.Module:
    """The authors' code: squared error on one-hot classes, rate 0.1, momentum 0.9, weight decay 1e-4, batches of 100."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    target = functional.one_hot(data.y).float()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(target)), 100):
            loss = functional.mse_loss(network(data.x[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval().requires_grad_(False).double()


def circle_and_ring(number: int) -> Points:
    """About `number` points of [-1, 1]^2 that lie in the disc (1) or in the ring of twice the disc's area around it (0)."""
    return _kept(torch.rand(4 * number, 2) * 2 - 1, number)


def grid(side: int = 101) -> Tensor:
    """Points of a grid over [-1, 1]^2: (side^2, 2) float64."""
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


def on_grid() -> Points:
    """The points of the grid that lie in the disc or in the ring."""
    return _kept(grid(), 101**2)


def exclusive_or(number: int) -> Points:
    """Points of [-1, 1]^2, of class 1 where exactly one coordinate is positive."""
    x = torch.rand(number, 2) * 2 - 1
    return Points(x, (x > 0).sum(1).eq(1).long())


def _kept(x: Tensor, number: int) -> Points:
    square = x.square().sum(1)
    inner = square < INNER**2
    kept = inner | ((square > 2 * INNER**2) & (square < 3 * INNER**2))
    return Points(x[kept][:number], inner[kept][:number].long())
