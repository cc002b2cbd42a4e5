"""A small network on scikit-learn's digits that shows its penultimate layer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from harness.draws import CounterDraws
from harness.types import Split


class Net(nn.Module):
    """logits = head(features(x)), a hidden layer of 48 features."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU())
        self.head = nn.Linear(48, 10)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@dataclass(frozen=True)
class Digits:
    """A network and disjoint inputs: to train it, to fit a defense, and to try it on (the right ones only)."""

    network: Net
    fit: Split
    test: Split


@pytest.fixture(scope="session")
def digits() -> Digits:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Net()
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[:900]), y[:900]).backward()
            optimizer.step()
    network.eval().requires_grad_(False)
    right = 1400 + (network(x[1400:]).argmax(1) == y[1400:]).nonzero()[:128, 0]
    return Digits(network, _split(x, y, torch.arange(900, 1400)), _split(x, y, right))


def _split(x: Tensor, y: Tensor, rows: Tensor) -> Split:
    return Split(x[rows], y[rows], rows, 10, 16, CounterDraws("digits", rows))
