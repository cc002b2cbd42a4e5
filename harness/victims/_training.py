"""The training loop that all victims share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import progress
from harness.types import Split

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train, with one default for small and large data: passes over the data, but at least `least_steps` steps.

    Batches are smaller than `batch_size` where a pass would have fewer than twelve, but not below 16 inputs.
    shift: largest random translation, as a fraction of the image's side; flip: random mirror images.
    optimizer: parameters -> optimizer, whose learning rate is the peak of a one-cycle schedule.
    """

    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer]
    epochs: int
    batch_size: int
    least_steps: int = 400
    shift: float = 0.0
    flip: bool = False

    def steps(self, size: int) -> int:
        """The number of steps for so many inputs."""
        return max(self.least_steps, self.epochs * (size // self.batch(size)))

    def batch(self, size: int) -> int:
        """The number of inputs in a batch, for so many inputs."""
        return min(self.batch_size, max(16, size // 12), size)


def train(
    network: nn.Module, data: Split, *, recipe: Recipe, loss: Loss = functional.cross_entropy, title: str = "training"
) -> None:
    """Train a network in place, on the device of the data, with numbers from torch's global generator.

    One-cycle schedule (Smith and Topin 2019, "Super-convergence"). Raises ValueError when the loss is not finite.
    """
    steps = recipe.steps(len(data))
    optimizer = recipe.optimizer(network.parameters())
    peak = optimizer.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps + 1, pct_start=0.2)
    network.train()
    value = torch.zeros(())
    batches = islice(_batches(data.y, recipe.batch(len(data))), steps)
    for rows in progress.steps(batches, title, total=steps):
        x = augmented(data.x[rows], shift=recipe.shift, flip=recipe.flip)
        value = loss(network(x), data.y[rows])
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    network.eval()
    last = float(value.detach())
    if not math.isfinite(last):
        raise ValueError(f"{title}: the loss is {last} after {steps} steps; lower learning_rate (it is {peak:g})")


def _batches(y: Tensor, size: int) -> Iterator[Tensor]:
    """Rows of whole batches in random order, without end; a pass leaves out the inputs that fill no batch."""
    while True:
        order = torch.randperm(len(y), device=y.device)
        yield from order[: len(y) // size * size].view(-1, size)


def augmented(x: Tensor, *, shift: float, flip: bool) -> Tensor:
    """Images (B, C, H, W), each moved by whole pixels (zeros come in) and mirrored at random; others as they are."""
    if x.ndim != 4 or not (shift or flip):
        return x
    height, width = x.shape[2:]
    reach = int(shift * min(height, width))
    rows = torch.arange(height, device=x.device).expand(len(x), -1)
    columns = torch.arange(width, device=x.device).expand(len(x), -1)
    if flip:
        mirrored = torch.rand(len(x), 1, device=x.device) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    moves = torch.randint(0, 2 * reach + 1, (2, len(x), 1), device=x.device)
    padded = functional.pad(x, (reach, reach, reach, reach))
    batch = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[:, None, None]
    return padded[batch, channel, (rows + moves[0])[:, None, :, None], (columns + moves[1])[:, None, None, :]]


def adam(learning_rate: float, weight_decay: float) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    """AdamW (Loshchilov and Hutter 2019) in one kernel a step."""
    return lambda parameters: torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


def momentum(learning_rate: float, weight_decay: float) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    """Stochastic gradient descent with Nesterov momentum 0.9."""
    return lambda parameters: torch.optim.SGD(
        parameters, lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
