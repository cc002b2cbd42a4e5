"""Detection by how far an image moves when a part of it is made anew by a diffusion model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from defenses._distances import Distance, dissimilarity, mean_square, perceptual
from defenses._images import sides
from defenses._lpips import lpips
from defenses._masks import centre, checkerboard, counted, filled, fixed, patches, stepped
from defenses._noisy import Model, SameDraws, modelled
from geometry.manifolds._denoising import levels, noised
from harness.types import Draws, Network, Spec, State

TOGETHER = 512  # inputs times attempts in one pass


@dataclass(frozen=True)
class LiftMapDetect:
    """Hides a part of an image, fills it by a diffusion model of clean images, and scores the distance; the median of attempts.

    mask: checkerboard, hidden and shown squares exchanged at every second attempt; fixed, the same without the exchange;
    centre, a quarter of the area; patches, a random half of the squares. side: of the squares, in pixels (4 of 32 are the
    paper's 8x8). noise: instead of hiding, all of the image is given the noise of this time in (0, 1], and freed of it.
    steps: evaluations of the model in an attempt (25 in place of the paper's 1,000). rounds: 1 overwrites the shown part, more
    resample each step (RePaint). distance: mse; ssim, 1 less the similarity; features, LPIPS without learned weights on the
    victim's activations; lpips, with the weights of that file. surrogate_steps: attackers differentiate two attempts of so
    many steps with noise of their own, None: the score itself. Raises ValueError for images that the squares do not
    divide. Source: Liu Z. et al. 2024, algorithms 1 and 2.
    """

    role: ClassVar[Literal["detector"]] = "detector"
    random: ClassVar[bool] = True
    model: Spec = Spec.of("manifold", "diffusion")
    mask: Literal["checkerboard", "fixed", "centre", "patches"] = "checkerboard"
    side: int = 4
    noise: float | None = None
    steps: int = 25
    attempts: int = 10
    rounds: int = 1
    distance: Literal["mse", "ssim", "features", "lpips"] = "mse"
    lpips: Path | None = None
    surrogate_steps: int | None = 5

    def __post_init__(self) -> None:
        if min(self.side, self.steps, self.attempts, self.rounds, self.surrogate_steps or 1) < 1:
            raise ValueError("lift_map_detect takes one pixel, step, attempt, round and surrogate step at least")
        if self.noise is not None and not 0 < self.noise <= 1:
            raise ValueError(f"lift_map_detect takes a time of the noise in (0, 1], not {self.noise}")
        if (self.distance == "lpips") != (self.lpips is not None):
            raise ValueError(
                f"lift_map_detect takes a file `lpips` for the distance lpips, but was given {self.distance} and {self.lpips}"
            )

    def load(self, state: State, *, victim: Network, model: Model) -> LiftMap:
        """The score (B, C, H, W), draws -> (B,); nothing is fitted but the model."""
        distance = self._distance(victim)
        cls = LiftMap if self.surrogate_steps is None else LiftMapWithSurrogate
        return cls(self, modelled(model, "lift_map_detect"), distance)

    def _distance(self, victim: Network) -> Distance:
        if self.lpips is not None:
            return lpips(self.lpips)
        if self.distance != "features":
            return dissimilarity if self.distance == "ssim" else mean_square
        if not isinstance(victim, nn.Module):
            raise ValueError("the distance `features` needs a victim that is a torch module; take mse or ssim")
        return partial(perceptual, victim)


@dataclass(frozen=True, eq=False)
class LiftMap:
    """The median distance between images and what the model makes of them."""

    part: LiftMapDetect
    model: Model
    distance: Distance

    def __call__(self, x: Tensor, draws: Draws, /) -> Tensor:
        return self._score(x, draws, self.part.attempts, self.part.steps)

    def filled(self, x: Tensor, draws: Draws, attempts: range, steps: int) -> Tensor:
        """What attempts make of images: (B, C, H, W) -> (attempts * B, C, H, W) in [0, 1]."""
        streams = [draws.stream(f"attempt {attempt}") for attempt in attempts]
        noises = [counted(stream.stream("noise"), x) for stream in streams]
        shares, given = levels(self.part.noise or 1.0, steps), (2 * x - 1).repeat(len(attempts), 1, 1, 1)

        def noise() -> Tensor:
            return torch.cat([one() for one in noises])

        if self.part.noise is None:
            masks = [self.mask(x, *pair).expand(len(x), -1, -1, -1) for pair in zip(streams, attempts, strict=True)]
            found = filled(self.model.noise, given, torch.cat(masks), shares, noise, rounds=self.part.rounds)
        else:
            found = noised(given, noise(), 1.0, shares[0])
            for kept_t, kept_s in pairwise(shares):
                found = stepped(self.model.noise, found, kept_s, kept_t, fixed(noise()))
        return (0.5 * found + 0.5).clamp(0.0, 1.0)

    def mask(self, x: Tensor, draws: Draws, attempt: int) -> Tensor:
        """1 where an image is shown in an attempt: (1 or B, 1, H, W)."""
        height, width = sides(x, "lift_map_detect")
        if self.part.mask == "patches":
            return patches(height, width, self.part.side, draws.stream("patches")).to(x)[:, None]
        if self.part.mask == "centre":
            return centre(height, width).to(x)[None, None]
        mask = checkerboard(height, width, self.part.side).to(x)[None, None]
        return 1 - mask if attempt % 2 and self.part.mask == "checkerboard" else mask

    def _score(self, x: Tensor, draws: Draws, attempts: int, steps: int) -> Tensor:
        """The median over attempts, as many together as one pass takes: (B,)."""
        sides(x, "lift_map_detect")
        size = max(1, TOGETHER // max(1, len(x)))
        distances = []
        for first in range(0, attempts, size):
            together = range(first, min(first + size, attempts))
            found = self.filled(x, draws, together, steps)
            distances.append(self.distance(x.repeat(len(together), 1, 1, 1), found).view(len(together), len(x)))
        return torch.quantile(torch.cat(distances), 0.5, dim=0)


@dataclass(frozen=True, eq=False)
class LiftMapWithSurrogate(LiftMap):
    """The same score, differentiated by a shorter one."""

    def surrogate(self, x: Tensor, /) -> Tensor:
        """Two attempts of few steps with the same noise for every input: (B, C, H, W) -> (B,)."""
        return self._score(x, SameDraws(len(x)), min(2, self.part.attempts), self.part.surrogate_steps or 1)
