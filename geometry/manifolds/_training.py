"""How the networks of manifolds are trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

CLIPPED = 100.0  # length of a gradient, at most


def train(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    number: int,
    *,
    updates: int,
    size: int,
    rate: float,
    what: str,
) -> None:
    """Adam on the loss of the rows (B,) int64 of each batch of `size`, epoch after epoch; its rate falls to 0 on a cosine.

    Raises ValueError where the loss stops being a finite number.
    """
    size = min(size, number)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
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
        schedule.step()
