"""Purification by a diffusion model: noise is added, and taken out again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor

from defenses._masks import stepped
from defenses._noisy import Model, SameDraws, modelled, require_inputs
from geometry.manifolds._denoising import ddim_step, levels, noised
from harness.types import Draws, Network, Spec, State


@dataclass(frozen=True)
class DiffusionPurification:
    """Gives every input the noise of a time, and lets a diffusion model of clean inputs take it out in a few DDIM steps.

    time: in (0, 1]; at 0.1 the noise has the deviation 0.17 in units of the box, and the more of it, the more of the input
    is made anew. Differentiable, with the memory of one step. surrogate_steps: attackers differentiate so many steps with
    noise of their own, None: the purification itself. Source: Nie et al. 2022, "DiffPure" (time 0.1 or 0.15 in linf).
    """

    role: ClassVar[Literal["purifier"]] = "purifier"
    random: ClassVar[bool] = True
    model: Spec = Spec.of("manifold", "diffusion")
    time: float = 0.1
    steps: int = 5
    surrogate_steps: int | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.surrogate_steps or 1) < 1:
            raise ValueError("diffusion_purification takes one step and surrogate step at least")
        if not 0 < self.time <= 1:
            raise ValueError(f"diffusion_purification takes a time in (0, 1], not {self.time}")

    def load(self, state: State, *, victim: Network, model: Model) -> Purification:
        """The purifier (B, *S), draws -> (B, *S); nothing is fitted but the model."""
        cls = Purification if self.surrogate_steps is None else PurificationWithSurrogate
        return cls(self, modelled(model, "diffusion_purification"))


@dataclass(frozen=True, eq=False)
class Purification:
    """Noise, and the model's steps back."""

    part: DiffusionPurification
    model: Model

    def __call__(self, x: Tensor, draws: Draws, /) -> Tensor:
        return self._purified(x, draws, self.part.steps)

    def _purified(self, x: Tensor, draws: Draws, steps: int) -> Tensor:
        require_inputs(x, self.model, "diffusion_purification")
        shares = levels(self.part.time, steps)
        z = noised(2 * x - 1, draws.normal(*x.shape[1:]).to(x), 1.0, shares[0])
        for kept_t, kept_s in pairwise(shares):
            z = stepped(self.model.noise, z, kept_s, kept_t, ddim_step)
        return (0.5 * z + 0.5).clamp(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class PurificationWithSurrogate(Purification):
    """The same purification, differentiated by a shorter one."""

    def surrogate(self, x: Tensor, /) -> Tensor:
        """Few steps with the same noise for every input: (B, *S) -> (B, *S)."""
        return self._purified(x, SameDraws(len(x)), self.part.surrogate_steps or 1)
