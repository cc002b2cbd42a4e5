"""What an attack ascends: each loss maps outputs and labels to one number for each input, larger = nearer success.

Labels are (B,), or (B, 2) for a targeted loss: the label and the class to be reached. A stronger adaptive loss is one
more function of this shape, named by the attack that uses it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as mean_cross_entropy

from harness.types import Outputs

Loss = Callable[[Outputs, Tensor], Tensor]
SLACK = 0.1  # calibrated units
SPREAD = 8.0  # standard deviation of rescaled logits; 4 and less are weaker on adversarially trained networks


def cross_entropy(outputs: Outputs, labels: Tensor) -> Tensor:
    """Minus the logarithm of the probability of `labels`: ascended, it leads away from them."""
    return mean_cross_entropy(outputs.logits, labels, reduction="none")


def rescaled_cross_entropy(outputs: Outputs, labels: Tensor) -> Tensor:
    """Cross-entropy of logits brought to one spread, so that large ones do not saturate: (B,)."""
    return cross_entropy(_rescaled(outputs), labels)


def _rescaled(outputs: Outputs) -> Outputs:
    """Logits brought to the standard deviation SPREAD by a factor that is not differentiated."""
    spread = outputs.logits.detach().std(1, keepdim=True, correction=0)
    return Outputs(outputs.logits * (SPREAD / spread.clamp_min(1e-30)), outputs.margin)


def margin(outputs: Outputs, labels: Tensor) -> Tensor:
    """Largest other logit minus that of `labels`: positive where the label is lost (Carlini and Wagner 2017)."""
    own = outputs.logits.gather(1, labels[:, None])
    others = outputs.logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(1) - own[:, 0]


def dlr(outputs: Outputs, labels: Tensor) -> Tensor:
    """The margin over the difference of the first and third logits (Croce and Hein 2020, eq. 6); needs three classes."""
    if outputs.logits.shape[1] < 3:
        return margin(outputs, labels)
    first, _, third = outputs.logits.topk(3, dim=1).values.unbind(1)
    return margin(outputs, labels) / _positive(first - third)


def targeted_margin(outputs: Outputs, labels: Tensor) -> Tensor:
    """Logit of the target minus that of the label: (B,)."""
    own, target = outputs.logits.gather(1, labels).unbind(1)
    return target - own


def targeted_dlr(outputs: Outputs, labels: Tensor) -> Tensor:
    """The targeted margin over a difference of logits (Croce and Hein 2020, eq. 7); needs four classes."""
    if outputs.logits.shape[1] < 4:
        return targeted_margin(outputs, labels)
    first, _, third, fourth = outputs.logits.topk(4, dim=1).values.unbind(1)
    return targeted_margin(outputs, labels) / _positive(first - (third + fourth) / 2)


def _positive(difference: Tensor) -> Tensor:
    return difference.clamp_min(1e-12)


def towards(loss: Loss) -> Loss:
    """The targeted variant: ascended, it leads to the labels, which are then the targets."""
    return lambda outputs, targets: -loss(outputs, targets)


def towards_second(loss: Loss) -> Loss:
    """The targeted variant for labels (B, 2): ascended, it leads to the class of the second column."""
    return lambda outputs, labels: -loss(outputs, labels[:, 1])


LOSSES: dict[str, tuple[Loss, Loss]] = {
    "cross_entropy": (cross_entropy, towards_second(cross_entropy)),
    "rescaled_cross_entropy": (rescaled_cross_entropy, towards_second(rescaled_cross_entropy)),
    "dlr": (dlr, targeted_dlr),
    "margin": (margin, targeted_margin),
}  # by name: away from labels (B,), and to the targets of labels (B, 2)


def accepted(loss: Loss, weight: float) -> Loss:
    """The loss minus `weight` times the margin (calibrated units) of a system that may reject; else the loss alone.

    A margin below -SLACK is accepted and earns nothing more: unbounded, the score would be lowered for ever.
    """

    def call(outputs: Outputs, labels: Tensor) -> Tensor:
        value = loss(outputs, labels)
        return value if outputs.margin is None else value - weight * outputs.margin.clamp_min(-SLACK)

    return call


def lack(outputs: Outputs, y: Tensor) -> Tensor:
    """What is missing to success, in logits or in calibrated units, at most 0 where nothing is: (B,)."""
    missing = -margin(outputs, y)
    return missing if outputs.margin is None else torch.maximum(missing, outputs.margin)


def most_likely_wrong(logits: Tensor, y: Tensor, number: int) -> Tensor:
    """The `number` classes of the largest logits other than y (all the others, if there are fewer): (number, B)."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(number, logits.shape[1] - 1), dim=1).indices.T
