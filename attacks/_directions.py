"""Where an attack on a system that may reject or purify goes: two goals at once, and what to do where they disagree.

Each is a `Direction` of the search: (outputs, labels, x) -> the value that is to rise (B,), and a direction (B, *S).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attacks._ball import per_input
from attacks._loss import SLACK, Loss, accepted, margin
from attacks._search import Direction, ascent_direction, steepest
from harness.types import Draws, Outputs

BEYOND = 100.0  # value of an input that is misclassified already: above that of any that is not
CONFIDENCE = 0.05  # logits by which the label must be lost before a selective attack turns to the score


def joint(loss: Loss, weight: float) -> Direction:
    """The loss minus `weight` times the margin: both goals in one sum."""
    return steepest(accepted(loss, weight))


def _hidden(outputs: Outputs) -> Tensor:
    """What is gained by lowering the score: minus the margin, no more once it is well accepted (B,)."""
    assert outputs.margin is not None
    return -outputs.margin.clamp_min(-SLACK)


def selective(loss: Loss) -> Direction:
    """The loss while the label holds, then the score alone (Bryniarski et al. 2021, selective PGD)."""

    def value(outputs: Outputs, labels: Tensor) -> Tensor:
        if outputs.margin is None:
            return loss(outputs, labels)
        wrong = margin(outputs, labels).detach() > CONFIDENCE
        return torch.where(wrong, BEYOND + _hidden(outputs), loss(outputs, labels).clamp_max(BEYOND - 1))

    return steepest(value)


def orthogonal(loss: Loss, *, spare: str) -> Direction:
    """Selective steps without the part that would undo the other goal (Bryniarski et al. 2021, orthogonal PGD).

    spare: "score" leaves out of the loss's gradient what changes the score; "label" leaves out of the score's gradient what
    changes the loss.
    """

    def call(outputs: Outputs, labels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.margin is None:
            return steepest(loss)(outputs, labels, x)
        with torch.enable_grad():
            value, hidden = loss(outputs, labels), -outputs.margin
        classes = ascent_direction(value, x, again=True)
        score = ascent_direction(hidden, x)
        wrong = margin(outputs, labels).detach() > CONFIDENCE
        if spare == "score":
            chosen = torch.where(per_input(wrong, x), score, _without(classes, score))
        else:
            chosen = torch.where(per_input(wrong, x), _without(score, classes), classes)
        risen = torch.where(wrong, BEYOND + hidden.clamp_max(SLACK), value.clamp_max(BEYOND - 1))
        return risen.detach(), chosen

    return call


def _without(vectors: Tensor, others: Tensor) -> Tensor:
    """The part of each of (B, *S) that is orthogonal to the other."""
    a, b = vectors.flatten(1), others.flatten(1)
    share = (a * b).sum(1, keepdim=True) / b.square().sum(1, keepdim=True).clamp_min(torch.finfo(a.dtype).tiny)
    return (a - share * b).view_as(vectors)


def score_only() -> Direction:
    """The score alone, whatever the label: for starts that are misclassified already."""
    return steepest(lambda outputs, labels: margin(outputs, labels) if outputs.margin is None else _hidden(outputs))


def matching(weight: float) -> Direction:
    """Logits like those of an accepted input of another class, which stand in for the labels: (B, K)."""

    def value(outputs: Outputs, labels: Tensor) -> Tensor:
        scale = labels.std(1, correction=0).clamp_min(1e-6)
        return -((outputs.logits - labels) / scale[:, None]).square().mean(1)

    return steepest(accepted(value, weight))


def feature_matching(features: Callable[[Tensor, Draws], Tensor], draws: Draws, weight: float) -> Direction:
    """Penultimate features like those of an accepted input of another class, which stand in for the labels: (B, F).

    For systems that draw no random numbers: `draws` are those of any input.
    Source: Sabour et al. 2016, eq. 1; against detectors, Tramer et al. 2020, section 5.
    """

    def call(outputs: Outputs, labels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if not x.requires_grad:
            return torch.zeros_like(x.flatten(1)[:, 0]), torch.zeros_like(x)
        with torch.enable_grad():
            found = features(x, draws)
            spread = labels.square().mean(1).clamp_min(1e-12)
            near = -(found - labels).square().mean(1) / spread
            value = near if outputs.margin is None else near - weight * outputs.margin.clamp_min(-SLACK)
        return value.detach(), ascent_direction(value, x)

    return call


def with_objective(loss: Loss, objective: Callable[[Tensor], Tensor], weight: float) -> Direction:
    """The loss minus what a purifier would lower itself, so that it has nothing to do (Tramer et al. 2020, section 5).

    objective (B, *S) -> (B,). Its gradient is given `weight` times the length of the loss's.
    """

    def call(outputs: Outputs, labels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            value = accepted(loss, 1.0)(outputs, labels)
        attack = ascent_direction(value, x)
        if not x.requires_grad:
            return value.detach(), attack
        with torch.enable_grad():
            kept = -objective(x)
        keep = ascent_direction(kept, x)
        length = attack.flatten(1).norm(dim=1) / keep.flatten(1).norm(dim=1).clamp_min(1e-30)
        return value.detach(), attack + keep * per_input(weight * length, x)

    return call


def through_decoder(loss: Loss, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> Direction:
    """The step that ascent in the latent space of a purifier's decoder makes of the input: J J^T times the gradient."""

    def call(outputs: Outputs, labels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = steepest(accepted(loss, 1.0))(outputs, labels, x)
        if not x.requires_grad:
            return value, slope
        with torch.no_grad():
            latent = encode(x.detach())
        back = torch.func.vjp(decode, latent)[1]
        (pulled,) = back(slope)
        pushed = torch.func.jvp(decode, (latent,), (pulled,))[1]
        return value, pushed.view_as(x).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)

    return call
