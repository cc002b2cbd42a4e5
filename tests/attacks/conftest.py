"""Small systems with known answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.draws import CounterDraws
from harness.types import Outputs, View


class Linear(nn.Module):
    """Two classes: the margin of class 1 is w x + b, so that class 0 is lost where that is positive."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1) @ self.w + self.b
        return torch.stack([-value / 2, value / 2], 1)


@pytest.fixture
def linear() -> Linear:
    generator = torch.Generator().manual_seed(3)
    return Linear(torch.randn(12, generator=generator), 0.1)


@pytest.fixture(scope="session")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A network trained on scikit-learn's digits, with 64 images that it gets right."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    network.eval().requires_grad_(False)
    rows = (network(x).argmax(1) == y).nonzero()[:64, 0]
    return network, x[rows], y[rows]


@pytest.fixture
def draws() -> CounterDraws:
    return CounterDraws("tests", torch.arange(64))


@pytest.fixture
def detecting(digits: tuple[nn.Module, Tensor, Tensor]) -> View:
    """The network behind a detector of bright corners: rejects where their mean is over 0.3."""
    network = digits[0]

    def forward(x: Tensor, draws: object) -> Outputs:
        return Outputs(network(x), 10 * (x[:, 0, ::7, ::7].mean((1, 2)) - 0.3))

    return View(
        decide=lambda x, draws: torch.where(forward(x, draws).margin <= 0, network(x).argmax(1), -1),
        fooled=lambda candidate, x, y, epsilon, draws: forward(candidate, draws).fooled(y),
        forward=forward,
        num_classes=10,
        early_exit=False,
    )
