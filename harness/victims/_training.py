"""The training loop that all victims share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import progress
from harness.types import Checkpoint, Split, Training

Loss = Callable[[Tensor, Tensor], Tensor]

_TOLD = 5  # steps between two reports of the loss


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
    network: nn.Module,
    data: Split,
    *,
    recipe: Recipe,
    loss: Loss = functional.cross_entropy,
    title: str = "training",
    training: Training | None = None,
) -> None:
    """Train a network in place, on the device of the data, with numbers from torch's global generator.

    One-cycle schedule (Smith and Topin 2019, "Super-convergence"). `training` keeps the state every now and then, and a state
    that it has is gone on from. Raises ValueError when the loss is not finite.
    """
    steps, size = recipe.steps(len(data)), recipe.batch(len(data))
    run = _Run(network, recipe, steps, data.y.device)
    if training is not None and (before := training.resumed()) is not None:
        run.restore(before)
    network.train()
    bar = progress.Bar(title) if training is None else None
    value = torch.zeros(())
    while run.step < steps:
        rows = run.rows(len(data), size)
        x = augmented(data.x[rows], shift=recipe.shift, flip=recipe.flip)
        value = loss(network(x), data.y[rows])
        run.descend(value)
        if bar is not None:
            bar.show(run.step, steps)
        if training is not None:
            if run.step % _TOLD == 0 or run.step == steps:
                training.report(run.step, float(value.detach()), steps)
            training.save(run.state)
    if bar is not None:
        bar.close()
    network.eval()
    last = float(value.detach())
    if not math.isfinite(last):
        raise ValueError(f"{title}: the loss is {last} after {steps} steps; lower learning_rate (it is {run.peak:g})")


class _Run:
    """All that changes while a network is trained."""

    def __init__(self, network: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> None:
        self.network, self.device = network, device
        self.optimizer = recipe.optimizer(network.parameters())
        self.peak = float(self.optimizer.param_groups[0]["lr"])
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, self.peak, total_steps=steps + 1, pct_start=0.2
        )
        self.waiting = torch.empty(0, 0, dtype=torch.int64, device=device)
        self.step = 0

    def rows(self, number: int, size: int) -> Tensor:
        """Rows of the next batch: whole batches in random order; a pass leaves out the inputs that fill no batch."""
        if not len(self.waiting):
            order = torch.randperm(number, device=self.device)
            self.waiting = order[: number // size * size].view(-1, size)
        first, self.waiting = self.waiting[0], self.waiting[1:]
        return first

    def descend(self, value: Tensor) -> None:
        """One step down the gradient of a loss."""
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        self.step += 1

    def state(self) -> Checkpoint:
        """Weights, moments, learning rate, the batches that wait, and the generators."""
        cuda = self.device.type == "cuda"
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "waiting": self.waiting,
            "generator": torch.get_rng_state(),
            "device generator": torch.cuda.get_rng_state(self.device) if cuda else None,
        }

    def restore(self, state: Checkpoint) -> None:
        """As it was when the state was saved."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.schedule.load_state_dict(dict(state["schedule"]))
        self.waiting, self.step = state["waiting"].to(self.device), int(state["step"])
        torch.set_rng_state(state["generator"])
        if state["device generator"] is not None:
            torch.cuda.set_rng_state(state["device generator"], self.device)


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
