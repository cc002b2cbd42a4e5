"""The attack of Carlini and Wagner in l2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks._ball import per_input
from attacks._confirm import confirmed
from attacks._loss import margin
from attacks._require import at_least_one
from attacks._search import ascent_direction
from harness.gradients import expectation
from harness.types import Budget, Draws, Needs, Outputs, View

EDGE = 0.9  # tanh of the variable that stands for a pixel of 1: below one, so that no pixel lacks a gradient
LARGEST = 1e10  # constant
FLOOR = 0.05  # share of the step size that is left at the last step
HALVINGS = 12  # of the last tenth of the way


@dataclass(frozen=True)
class CarliniWagner:
    """The nearest adversarial input in l2, by Adam on squared distance plus a constant times the lack of success.

    The constant is searched for each input: `constants` values from `constant` on, times ten until one succeeds, then
    by bisection; each is given up to `steps` steps, of `step_size` falling by a cosine. With abort_early, an input goes
    on by itself when its lowest loss falls by less than 0.01 % in a tenth of the steps. confidence: logits by which the
    label must be lost; for a system that may reject, also calibrated units by which it must accept.
    Source: Carlini and Wagner 2017, section VI.
    """

    steps: int = 200
    constants: int = 9
    constant: float = 1e-3
    step_size: float = 0.01
    confidence: float = 0.0
    abort_early: bool = True
    samples: int = 1

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "constants", "samples")

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The nearest input found that the harness calls fooled, else the clean one: (B, *S) -> (B, *S)."""
        nearest = _Nearest(x.clone(), torch.full_like(y, torch.inf, dtype=x.dtype))
        constant = torch.full_like(nearest.distance, self.constant)
        lower, upper = torch.zeros_like(constant), torch.full_like(constant, LARGEST)
        for turn in range(self.constants):
            found = self._descend(view, x, y, constant, draws.stream(turn), nearest)
            upper = torch.where(found, constant.minimum(upper), upper)
            lower = torch.where(found, lower, constant.maximum(lower))
            constant = torch.where(upper < LARGEST, (lower + upper) / 2, constant * 10)
        found = torch.isfinite(nearest.distance)
        candidate = self._pulled_in(view, nearest.candidate, x, y, draws)
        return confirmed(view, candidate, x=x, y=y, found=found, draws=draws)

    def _descend(self, view: View, x: Tensor, y: Tensor, constant: Tensor, draws: Draws, nearest: _Nearest) -> Tensor:
        """Descend at one constant an input, noting what is nearer than before: whether each succeeded, (B,) bool."""
        assert view.forward is not None, "needs = gradient"
        forward = expectation(view.forward, self.samples)
        succeeded = torch.zeros_like(y, dtype=torch.bool)
        descent = _Descent.of(x, y, constant, draws)
        interval = max(1, self.steps // 10)
        for step in range(self.steps):
            leaf = descent.candidate().requires_grad_()
            with torch.enable_grad():
                outputs = forward(leaf, descent.draws.stream(step))
                objective = descent.constant * (_lack(outputs, descent.y) + self.confidence).clamp_min(0)
            gradient = ascent_direction(objective, leaf)
            offset = leaf.detach() - descent.x
            square = offset.flatten(1).square().sum(1)
            success = self._success(outputs, descent.y)
            succeeded[descent.rows] |= success
            nearest.offer(descent.rows, leaf.detach(), square.sqrt(), success)
            decay = FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * step / self.steps)) / 2
            descent.step(gradient.add_(offset, alpha=2), self.step_size * decay, step)
            descent.lowest = torch.minimum(descent.lowest, square + objective.detach())
            if self.abort_early and step % interval == 0:
                going = (descent.lowest <= descent.previous * 0.9999).nonzero()[:, 0]
                descent.previous = descent.lowest
                if not len(going):
                    break
                descent = descent[going]
        return succeeded

    def _success(self, outputs: Outputs, y: Tensor) -> Tensor:
        """Wrong and accepted, by the confidence asked for: (B,) bool."""
        return outputs.fooled(y) & (_lack(outputs, y).detach() + self.confidence <= 0)

    @torch.no_grad()
    def _pulled_in(self, view: View, candidate: Tensor, x: Tensor, y: Tensor, draws: Draws) -> Tensor:
        """Where success begins in the last tenth of the way from x to each candidate, by bisection."""
        assert view.forward is not None, "needs = gradient"
        forward = expectation(view.forward, self.samples)
        inside = torch.full((len(x),), 0.9, dtype=x.dtype, device=x.device)
        outside = torch.ones_like(inside)
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            outputs = forward(torch.lerp(x, candidate, per_input(middle, x)), draws)
            success = self._success(outputs, y)
            inside, outside = torch.where(success, inside, middle), torch.where(success, middle, outside)
        return torch.lerp(x, candidate, per_input(outside, x))


def _lack(outputs: Outputs, y: Tensor) -> Tensor:
    """What is missing to success, at most 0 where there is none: (B,)."""
    lack = -margin(outputs, y)
    return lack if outputs.margin is None else torch.maximum(lack, outputs.margin)


@dataclass(frozen=True)
class _Nearest:
    """The nearest success of each input, and its distance; infinite where there is none."""

    candidate: Tensor
    distance: Tensor

    def offer(self, rows: Tensor, candidate: Tensor, distance: Tensor, success: Tensor) -> None:
        """Take over what is nearer."""
        better = success & (distance < self.distance[rows])
        self.candidate[rows] = torch.where(per_input(better, candidate), candidate, self.candidate[rows])
        self.distance[rows] = torch.where(better, distance, self.distance[rows])


@dataclass
class _Descent:
    """Adam (Kingma and Ba 2015) in a variable w whose tanh is the pixel, stretched so that EDGE stands for 1."""

    rows: Tensor
    x: Tensor
    y: Tensor
    constant: Tensor
    draws: Draws
    w: Tensor
    mean: Tensor
    square: Tensor
    lowest: Tensor
    previous: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, constant: Tensor, draws: Draws) -> _Descent:
        """At the clean inputs."""
        w = (x * 2).sub_(1).mul_(EDGE).atanh_()
        infinite = torch.full_like(constant, torch.inf)
        rows = torch.arange(len(x), device=x.device)
        return cls(rows, x, y, constant, draws, w, torch.zeros_like(x), torch.zeros_like(x), infinite, infinite)

    def candidate(self) -> Tensor:
        """The inputs that w stands for, in the box."""
        return torch.tanh(self.w).div_(2 * EDGE).add_(0.5).clamp_(0, 1)

    def step(self, gradient: Tensor, step_size: float, step: int) -> None:
        """One step against the gradient by the input; w stays where it stands for a pixel of the box."""
        gradient.mul_(torch.tanh(self.w).square_().neg_().add_(1).div_(2 * EDGE))
        self.mean.lerp_(gradient, 0.1)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = self.square.sqrt().div_(math.sqrt(1 - 0.999 ** (step + 1))).add_(1e-8)
        self.w.addcdiv_(self.mean, scale, value=-step_size / (1 - 0.9 ** (step + 1)))
        self.w.clamp_(-math.atanh(EDGE), math.atanh(EDGE))

    def __getitem__(self, rows: Tensor) -> _Descent:
        return _Descent(**{name: value[rows] for name, value in vars(self).items()})
