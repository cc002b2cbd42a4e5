"""What an attacker may differentiate: stand-ins for parts without a usable gradient, and a count of what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.types import Draws, Outputs


def bpda(function: Callable[[Tensor], Tensor], surrogate: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The value of `function` with the gradient of `surrogate`, of equal shape (Athalye et al. 2018, BPDA)."""

    def call(x: Tensor) -> Tensor:
        with torch.no_grad():
            value = function(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        stand_in = surrogate(x)
        return value + (stand_in - stand_in.detach())

    return call


def expectation(forward: Callable[[Tensor, Draws], Outputs], number: int) -> Callable[[Tensor, Draws], Outputs]:
    """Mean outputs over `number` draws (expectation over transformation, Athalye et al. 2018); one pass for number = 1."""
    if number == 1:
        return forward

    def call(x: Tensor, draws: Draws) -> Outputs:
        outputs = [forward(x, draws.stream(i)) for i in range(number)]
        margins = [o.margin for o in outputs if o.margin is not None]
        margin = torch.stack(margins).mean(0) if margins else None
        return Outputs(torch.stack([o.logits for o in outputs]).mean(0), margin)

    return call


class _CountBackward(torch.autograd.Function):
    """Identity that adds the batch size to a counter when a gradient passes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: Count) -> Tensor:
        ctx.count = count
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.count.backwards += len(gradients[0])
        return gradients[0], None


@dataclass
class Count:
    """Inputs passed forwards and backwards through a system."""

    forwards: int = 0
    backwards: int = 0


def counted(forward: Callable[[Tensor, Draws], Outputs], count: Count) -> Callable[[Tensor, Draws], Outputs]:
    """The same forward pass, counting inputs forwards and backwards."""

    def call(x: Tensor, draws: Draws) -> Outputs:
        count.forwards += len(x)
        outputs = forward(x, draws)
        if not outputs.logits.requires_grad:
            return outputs
        if outputs.margin is None:
            return Outputs(_CountBackward.apply(outputs.logits, count))
        # One counter on the pair: a gradient of either, or of both, is one backward pass.
        pair = torch.cat([outputs.logits, outputs.margin[:, None]], dim=1)
        pair = _CountBackward.apply(pair, count)
        return Outputs(pair[:, :-1], pair[:, -1])

    return call
