"""What fine-tuning of a victim shares: a copy that may be trained, the order of inputs, the learning rate."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def trainable(victim: object, part: str) -> nn.Module:
    """A copy of a victim that may be trained; raises TypeError for one that is no torch module."""
    if not isinstance(victim, nn.Module):
        raise TypeError(f"{part} trains a torch.nn.Module; this victim is a {type(victim).__name__}")
    return copy.deepcopy(victim)


def order(number: int, size: int, updates: int) -> Iterator[Tensor]:
    """Rows of each batch: epochs in random order, one after the other."""
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(updates):
        while len(waiting) < min(size, number):
            waiting = torch.cat([waiting, torch.randperm(number)])
        yield waiting[:size]
        waiting = waiting[size:]


def triangle(update: int, updates: int) -> float:
    """The learning rate's share of its peak: rising over the first fifth of the updates, then falling to zero."""
    return min((update + 1) / (0.2 * updates), (updates - update) / (0.8 * updates), 1.0)
