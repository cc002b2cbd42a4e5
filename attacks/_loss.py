"""What an attack ascends: each loss maps outputs and labels (B,) to one number for each input, larger = nearer success.

A stronger adaptive loss is one more function of this shape, named by the attack that uses it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as mean_cross_entropy

from harness.types import Outputs

Loss = Callable[[Outputs, Tensor], Tensor]
SLACK = 0.1  # calibrated units


def cross_entropy(outputs: Outputs, labels: Tensor) -> Tensor:
    """Minus the logarithm of the probability of `labels`: ascended, it leads away from them."""
    return mean_cross_entropy(outputs.logits, labels, reduction="none")


def margin(outputs: Outputs, labels: Tensor) -> Tensor:
    """Largest other logit minus that of `labels`: positive where the label is lost (Carlini and Wagner 2017)."""
    own = outputs.logits.gather(1, labels[:, None])
    others = outputs.logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(1) - own[:, 0]


def towards(loss: Loss) -> Loss:
    """The targeted variant: ascended, it leads to the labels, which are then the targets."""
    return lambda outputs, targets: -loss(outputs, targets)


def accepted(loss: Loss, weight: float) -> Loss:
    """The loss minus `weight` times the margin (calibrated units) of a system that may reject; else the loss alone.

    A margin below -SLACK is accepted and earns nothing more: unbounded, the score would be lowered for ever.
    """

    def call(outputs: Outputs, labels: Tensor) -> Tensor:
        value = loss(outputs, labels)
        return value if outputs.margin is None else value - weight * outputs.margin.clamp_min(-SLACK)

    return call


def most_likely_wrong(logits: Tensor, y: Tensor, number: int) -> Tensor:
    """The `number` classes of the largest logits other than y (all the others, if there are fewer): (number, B)."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(number, logits.shape[1] - 1), dim=1).indices.T
