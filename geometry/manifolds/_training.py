"""How the networks of manifolds are trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLIPPED = 100.0  # length of a gradient, at most


@dataclass(frozen=True)
class Schedule:
    """Passes over the data in batches of `size`, at least so many updates; the learning rate falls from `rate` to 0 on a cosine."""

    epochs: int
    size: int
    rate: float
    least: int = 800


def train(
    network: nn.Module, loss: Callable[[Tensor], Tensor], number: int, schedule: Schedule, *, what: str
) -> dict[str, Tensor]:
    """The weights after Adam on the loss of the rows (B,) int64 of each batch, of `number` in all, epoch after epoch.

    Raises ValueError where the loss stops being a finite number.
    """
    size, rate = min(schedule.size, number), schedule.rate
    updates = max(schedule.least, schedule.epochs * (number // size))
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    waiting: list[Tensor] = []
    for update in range(updates):
        waiting = waiting or list(torch.randperm(number)[: number // size * size].view(-1, size))
        value = loss(waiting.pop())
        if not math.isfinite(float(value.detach())):
            found = float(value.detach())
            raise ValueError(
                f"the {what}'s loss is {found} after {update} updates; lower learning_rate (it is {rate:g})"
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(network.parameters(), CLIPPED)
        optimizer.step()
        falling.step()
    return {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
