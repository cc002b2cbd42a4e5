"""Adversarial inputs made while a defense is fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.types import Attack, Budget, Logits, Norm, Split, View


def budget_of(attack: Attack, norm: Norm, epsilon: float) -> Budget:
    """What an attack is called with: an attack for the nearest adversarial input gets an infinite epsilon."""
    if norm not in attack.norms:
        name = type(attack).__name__
        raise ValueError(
            f"{name} works in {', '.join(attack.norms)}, not in {norm}; change the parameter norm or attack"
        )
    return Budget(norm, math.inf if attack.minimal else epsilon)


def batches(data: Split, size: int = 256) -> Iterator[Split]:
    """The inputs in order, `size` at a time."""
    for start in range(0, len(data), size):
        yield data[torch.arange(start, min(start + size, len(data)), device=data.y.device)]


def crafted(attack: Attack, logits: Logits, data: Split, budget: Budget, stream: str) -> Tensor:
    """The adversarial counterparts of a batch for a bare classifier: (B, *S); stream names the random numbers."""
    return attack.perturb(View.of(logits), data.x, data.y, budget, data.draws.stream(stream)).detach()
