"""What an attacker may differentiate: stand-ins for parts without a usable gradient, and a count of what it asks for.

Every estimator gives the true values of a forward pass with another gradient, so that success is always judged on the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.types import Draws, Outputs

Forward = Callable[[Tensor, Draws], Outputs]
ESTIMATORS = ("own", "identity", "smooth", "unrolled", "removed", "stand_in", "estimated")
AT_ONCE = 2048  # inputs of a pass that serves several draws or directions


def straight_through(value: Tensor, stand_in: Tensor) -> Tensor:
    """The value of one tensor with the gradient of another, of equal shape."""
    return value.detach() + (stand_in - stand_in.detach())


def bpda(function: Callable[[Tensor], Tensor], surrogate: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The value of `function` with the gradient of `surrogate`, of equal shape (Athalye et al. 2018, BPDA)."""

    def call(x: Tensor) -> Tensor:
        with torch.no_grad():
            value = function(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        return straight_through(value, surrogate(x))

    return call


def replaced(forward: Forward, stand_in: Forward) -> Forward:
    """The outputs of one pass with the gradients of another; the second runs only where a gradient is asked for."""

    def call(x: Tensor, draws: Draws) -> Outputs:
        with torch.no_grad():
            value = forward(x.detach(), draws)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        other = stand_in(x, draws)
        margin = value.margin
        if margin is not None and other.margin is not None:
            margin = straight_through(margin, other.margin)
        return Outputs(straight_through(value.logits, other.logits), margin)

    return call


@dataclass(frozen=True)
class _Joined:
    """Draws for a batch that holds the same inputs several times, one after the other: those of each `parts` in turn."""

    parts: tuple[Draws, ...]
    rows: Tensor | None = None

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        return self._chosen(torch.cat([part.uniform(*shape, draw=draw) for part in self.parts]))

    def normal(self, *shape: int, draw: int = 0) -> Tensor:
        return self._chosen(torch.cat([part.normal(*shape, draw=draw) for part in self.parts]))

    def integers(self, high: int, *shape: int, draw: int = 0) -> Tensor:
        return self._chosen(torch.cat([part.integers(high, *shape, draw=draw) for part in self.parts]))

    def stream(self, name: str | int) -> _Joined:
        return _Joined(tuple(part.stream(name) for part in self.parts), self.rows)

    def __getitem__(self, rows: Tensor) -> _Joined:
        every = torch.nonzero(rows)[:, 0] if rows.dtype == torch.bool else rows
        return _Joined(self.parts, every if self.rows is None else self.rows[every])

    def _chosen(self, numbers: Tensor) -> Tensor:
        return numbers if self.rows is None else numbers[self.rows]


def expectation(forward: Forward, number: int) -> Forward:
    """Mean outputs over `number` draws (expectation over transformation, Athalye et al. 2018), several draws a pass."""
    if number == 1:
        return forward

    def call(x: Tensor, draws: Draws) -> Outputs:
        together = max(1, min(number, AT_ONCE // max(1, len(x))))
        logits, margins = [], []
        for first in range(0, number, together):
            streams = tuple(draws.stream(i) for i in range(first, min(first + together, number)))
            copies = x.repeat(len(streams), *(1,) * (x.ndim - 1))
            outputs = forward(copies, _Joined(streams))
            logits.append(outputs.logits.reshape(len(streams), len(x), -1))
            if outputs.margin is not None:
                margins.append(outputs.margin.reshape(len(streams), len(x)))
        return Outputs(torch.cat(logits).mean(0), torch.cat(margins).mean(0) if margins else None)

    return call


def unrolled(step: Callable[[Tensor, Tensor], Tensor], number: int) -> Callable[[Tensor, Tensor], Tensor]:
    """`number` times z <- step(z, x), differentiable, with the memory of one step: each is computed again on the way back.

    For purifiers that loop at inference; step (B, *S), (B, *S) -> (B, *S).
    """

    def call(z: Tensor, x: Tensor) -> Tensor:
        for _ in range(number):
            if torch.is_grad_enabled() and (z.requires_grad or x.requires_grad):
                z = checkpoint(step, z, x, use_reentrant=False)
            else:
                z = step(z, x)
        return z

    return call


def estimated(forward: Forward, *, number: int, sigma: float) -> Forward:
    """A pass whose gradient is estimated from values alone, by `number` antithetic pairs of Gaussian directions.

    sigma: their length, in units of the input. Source: natural evolution strategies, Ilyas et al. 2018, algorithm 1.
    """

    def call(x: Tensor, draws: Draws) -> Outputs:
        with torch.no_grad():
            value = forward(x.detach(), draws)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        packed = value.logits if value.margin is None else torch.cat([value.logits, value.margin[:, None]], 1)
        packed = _Estimate.apply(x, packed, lambda weights: _slope(forward, x.detach(), draws, weights, number, sigma))
        return Outputs(packed) if value.margin is None else Outputs(packed[:, :-1], packed[:, -1])

    return call


@torch.no_grad()
def _slope(forward: Forward, x: Tensor, draws: Draws, weights: Tensor, number: int, sigma: float) -> Tensor:
    """The estimated gradient by x of the outputs weighted by `weights` (B, K or K + 1): (B, *S)."""
    slope = torch.zeros_like(x)
    for pair in range(number):
        direction = draws.stream("direction").normal(*x.shape[1:], draw=pair).to(x)
        ends = []
        for sign in (1, -1):
            outputs = forward((x + sign * sigma * direction).clamp_(0, 1), draws)
            packed = (
                outputs.logits if outputs.margin is None else torch.cat([outputs.logits, outputs.margin[:, None]], 1)
            )
            ends.append((packed * weights).sum(1))
        change = (ends[0] - ends[1]) / (2 * sigma * number)
        slope += direction * change.reshape(-1, *(1,) * (x.ndim - 1))
    return slope


class _Estimate(torch.autograd.Function):
    """Outputs that were computed outside the graph, with an estimate as their backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, slope: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.slope = slope
        return packed.view_as(packed)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.slope(gradients[0]), None, None


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


def counted(forward: Forward, count: Count) -> Forward:
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
