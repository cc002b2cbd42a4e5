"""How the networks of manifolds are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

CLIPPED = 100.0  # length of a gradient, at most


class Training(Protocol):
    """What keeps the state of a training and its losses, as in harness.types."""

    def resumed(self) -> Mapping[str, Any] | None: ...

    def save(self, state: Callable[[], Mapping[str, Any]], *, now: bool = False) -> None: ...

    def report(self, step: int, loss: float, total: int | None = None) -> None: ...


@dataclass(frozen=True)
class Schedule:
    """Passes over the data in batches of `size`, at least so many updates; the learning rate falls from `rate` to 0 on a cosine."""

    epochs: int
    size: int
    rate: float
    least: int = 800


def train(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    number: int,
    schedule: Schedule,
    *,
    what: str,
    training: Training | None = None,
) -> dict[str, Tensor]:
    """The weights after Adam on the loss of the rows (B,) int64 of each batch, of `number` in all, epoch after epoch.

    Where `training` has a state under the name `what`, it goes on from there, with the numbers of torch's global generator
    that it would have had. Raises ValueError where the loss stops being a finite number.
    """
    size, rate = min(schedule.size, number), schedule.rate
    updates = max(schedule.least, schedule.epochs * (number // size))
    run = _Run(network, rate, updates)
    before = dict(training.resumed() or {}) if training is not None else {}
    if what in before:
        run.restore(before[what])

    def state() -> Mapping[str, Any]:
        return before | {what: run.state()}

    while run.update < updates:
        run.waiting = run.waiting or list(torch.randperm(number)[: number // size * size].view(-1, size))
        value = loss(run.waiting.pop())
        found = float(value.detach())
        if not math.isfinite(found):
            raise ValueError(
                f"the {what}'s loss is {found} after {run.update} updates; lower learning_rate (it is {rate:g})"
            )
        run.descend(value)
        if training is not None:
            training.report(run.update, found, updates)
            training.save(state, now=run.update == updates)
    return {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}


class _Run:
    """All that changes while a network is trained."""

    def __init__(self, network: nn.Module, rate: float, updates: int) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        self.falling = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, updates)
        self.waiting: list[Tensor] = []
        self.update = 0

    def descend(self, value: Tensor) -> None:
        """One update down the gradient of a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIPPED)
        self.optimizer.step()
        self.falling.step()
        self.update += 1

    def state(self) -> dict[str, Any]:
        """Weights, moments, learning rate, the rows of the batches that wait, and the generator."""
        return {
            "update": self.update,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "falling": self.falling.state_dict(),
            "waiting": torch.stack(self.waiting) if self.waiting else torch.empty(0, 0),
            "generator": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was when the state was saved."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.falling.load_state_dict(dict(state["falling"]))
        self.waiting, self.update = list(state["waiting"]), int(state["update"])
        torch.set_rng_state(state["generator"])
