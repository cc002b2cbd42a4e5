"""Purification by an optimisation at inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._subspace import Subspace, principal_components
from harness.types import Network, Purify, Split, State


@dataclass(frozen=True)
class GradientPurifier:
    """Moves every input by gradient descent towards clean inputs and towards what the victim says of the nearest of them.

    The objective, a method of the loaded purifier, is the squared distance to the principal components of clean inputs
    plus `consistency` times the squared distance to the softmax of the input's projection there. The loop cuts its own graph, as
    plain implementations do: the answer has no gradient unless an attacker unrolls the steps. variance: share that the
    components keep; step_size: of the gradient; every step is clipped to the box. Source: purification by optimisation
    at inference, Shi, Holtz and Mishne 2021, "Online adversarial purification based on self-supervision", section 3.
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    steps: int = 10
    step_size: float = 0.1
    variance: float = 0.95
    consistency: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.step_size <= 0:
            raise ValueError(
                f"gradient_purifier takes at least one step of positive size, not {self.steps} of {self.step_size}"
            )
        if not 0 < self.variance <= 1:
            raise ValueError(f"gradient_purifier takes a share of the variance in (0, 1], not {self.variance}")

    def fit(self, data: Split, *, victim: Network) -> State:
        """Mean (D,) and directions (R, D) of the inputs; the victim is not used."""
        return principal_components(data.x, self.variance)

    def load(self, state: State, *, victim: Network) -> Purify:
        """The descent (B, *S) -> (B, *S), with `objective`."""
        return _Descent(victim, Subspace.of(state), self.steps, self.step_size, self.consistency)


@dataclass(frozen=True, eq=False)
class _Descent:
    """Steps down an objective, each input on its own."""

    victim: Network
    subspace: Subspace
    steps: int
    step_size: float
    consistency: float

    def objective(self, x: Tensor, /) -> Tensor:
        """How unlike a clean input each is, before any step: (B, *S) -> (B,), differentiable, at least 0."""
        return self._unlikeness(x, self._goal(x))

    def _goal(self, x: Tensor) -> Tensor:
        """The softmax of the nearest point of the subspace: (B, K)."""
        return self.victim(self.subspace.project(x)).softmax(1)

    def _unlikeness(self, z: Tensor, goal: Tensor) -> Tensor:
        far = (z - self.subspace.project(z)).square().flatten(1).sum(1)
        return far + self.consistency * (self.victim(z).softmax(1) - goal).square().sum(1)

    def __call__(self, x: Tensor, /) -> Tensor:
        z = x.detach()
        with torch.enable_grad():
            goal = self._goal(z)
            for _ in range(self.steps):
                z = z.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self._unlikeness(z, goal).sum(), z)
                z = (z - self.step_size * gradient).clamp(0.0, 1.0)
        return z.detach()
