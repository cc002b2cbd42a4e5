"""What the benchmarks share: a frozen network on Fashion-MNIST, counted and timed runs, an outside scorer, a table."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WEIGHTS = Path(os.environ.get("HARNESS_HOME", "runs")) / "benchmarks" / "fashion_cnn.pt"


class Counted(nn.Module):
    """A frozen classifier in eval mode that counts the inputs it is passed, forwards and backwards."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval().requires_grad_(False)
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.network(x)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def architecture() -> nn.Module:
    """Two convolutions and two linear layers, 28x28 -> 10 logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def frozen(number: int) -> tuple[Counted, Tensor, Tensor]:
    """The network, trained once and kept, and the first `number` test images that it gets right, with their labels."""
    from harness.datasets.fashion_mnist import FashionMNIST

    data = FashionMNIST()
    network = architecture()
    if WEIGHTS.is_file():
        network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    else:
        _train(network, *_pair(data.split("train")))
        WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), WEIGHTS)
    model = Counted(network)
    x, y = _pair(data.split("test"))
    with torch.no_grad():
        right = network(x[: 2 * number]).argmax(1) == y[: 2 * number]
    rows = right.nonzero()[:number, 0]
    return model, x[rows].contiguous(), y[rows].contiguous()


def _pair(split: Any) -> tuple[Tensor, Tensor]:
    return split.x, split.y


def _train(network: nn.Module, x: Tensor, y: Tensor, epochs: int = 3) -> None:
    """Adam with a falling step, a minute or so."""
    torch.manual_seed(0)
    for layer in network:  # type: ignore[attr-defined]
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    batches = epochs * (len(x) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=batches)
    print(f"training the benchmark's network, {epochs} epochs of {len(x)} images", file=sys.stderr)
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 128 * 128].view(-1, 128):
            optimizer.zero_grad()
            cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()


@dataclass
class Result:
    """What one attack cost and reached, a number a round."""

    seconds: list[float] = field(default_factory=list)
    forwards: float = 0.0
    backwards: float = 0.0
    distances: list[Tensor] = field(default_factory=list)

    @property
    def success(self) -> float:
        """Share of inputs broken, over all rounds."""
        return float(torch.isfinite(torch.cat(self.distances)).float().mean())

    @property
    def distance(self) -> float:
        """Median distance of the successes."""
        every = torch.cat(self.distances)
        return float(every[torch.isfinite(every)].quantile(0.5)) if self.success else float("nan")

    def paired(self, other: Result) -> float:
        """Median over inputs that both broke of this distance over the other's."""
        ratios = torch.cat(self.distances) / torch.cat(other.distances)
        ratios = ratios[torch.isfinite(ratios) & (ratios > 0)]
        return float(ratios.quantile(0.5)) if len(ratios) else float("nan")


Attack = Callable[[Counted, Tensor, Tensor], Tensor]
Scorer = Callable[[Tensor], Tensor]


def race(
    attacks: dict[str, Attack], model: Counted, x: Tensor, y: Tensor, *, score: Scorer, rounds: int
) -> dict[str, Result]:
    """Interleaved rounds of all attacks, each from the same seed in a round; process time, the first round dropped."""
    results = {name: Result() for name in attacks}
    for turn in range(rounds + 1):
        for name in list(attacks)[turn % len(attacks) :] + list(attacks)[: turn % len(attacks)]:
            torch.manual_seed(turn)
            model.forwards = model.backwards = 0
            began = time.process_time()
            candidate = attacks[name](model, x, y)
            seconds = time.process_time() - began
            if turn == 0:
                continue
            result = results[name]
            result.seconds.append(seconds)
            result.forwards, result.backwards = model.forwards / len(x), model.backwards / len(x)
            result.distances.append(score(candidate.detach()))
    return results


def scorer(model: Counted, x: Tensor, y: Tensor, *, norm: str, epsilon: float) -> Scorer:
    """Distance of each success, else infinity; outside ball or box, or not finite, is no success."""

    def score(candidate: Tensor) -> Tensor:
        change = (candidate - x).flatten(1).double()
        distance = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        flat = candidate.flatten(1)
        allowed = ((flat >= 0) & (flat <= 1)).all(1) & torch.isfinite(flat).all(1) & (distance <= epsilon * (1 + 1e-5))
        with torch.no_grad():
            success = allowed & (model.network(candidate).argmax(1) != y)
        return torch.where(success, distance, torch.inf)

    return score


def table(title: str, results: dict[str, Result], number: int) -> None:
    """Print a line an attack: median milliseconds an input and their spread, passes, success, distance, paired ratio."""
    heads = "".join(f"{name:>9}" for name in ("ms/input", "min", "max", "fwd", "bwd", "success", "distance", "paired"))
    print(f"\n{title}\n{'attack':<14}{heads}")
    first = next(iter(results.values()))
    for name, result in results.items():
        times = [1000 * s / number for s in result.seconds]
        print(
            f"{name:<14}{statistics.median(times):9.2f}{min(times):9.2f}{max(times):9.2f}{result.forwards:9.1f}"
            f"{result.backwards:9.1f}{result.success:9.3f}{result.distance:9.4f}{result.paired(first):9.4f}"
        )


def ratio(results: dict[str, Result], ours: str) -> float:
    """Our median time over that of the fastest other."""
    medians = {name: statistics.median(result.seconds) for name, result in results.items()}
    return medians.pop(ours) / min(medians.values())


def peer(name: str, package: str) -> Any:
    """Import a library to compare with, or say how to get it."""
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # adv-lib imports it, but plots only when asked
    try:
        return import_module(name)
    except ImportError as error:
        sys.exit(f"this benchmark compares with {package} ({error}); install it: pip install --no-deps {package}")
