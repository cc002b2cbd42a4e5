"""Detection by how far an image moves when a part of it is made anew by a diffusion model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from defenses._noisy import Model, SameDraws, modelled, require_inputs
from geometry.manifolds._denoising import levels, noised
from harness.types import Draws, Network, Spec, State

TOGETHER = 512  # inputs times attempts in one pass
Try = tuple[int, Tensor]  # an attempt, and the rows of the inputs that are given it


@dataclass(frozen=True)
class LiftMapDetect:
    """Hides a part of an image, fills it by a diffusion model of clean images, and scores the distance; the median of attempts.

    mask: checkerboard, hidden and shown squares exchanged at every second attempt; fixed, the same without the exchange;
    centre, a quarter of the area; patches, a random half of the squares. side: of the squares, in pixels (4 of 32 are the
    paper's 8x8). noise: instead of hiding, all of the image is given the noise of this time in (0, 1], and freed of it.
    steps: evaluations of the model in an attempt (25 in place of the paper's 1,000). rounds: 1 overwrites the shown part, more
    resample each step (RePaint). distance: mse; ssim, 1 less the similarity; features, LPIPS without learned weights on the
    victim's activations; lpips, with the weights of that file. Differentiable, with the memory of one step, through the one
    or two attempts that the median is made of. surrogate_steps: attackers differentiate two attempts of so many steps with
    noise of their own instead. Raises ValueError for images that the squares do not divide, of another shape than the
    model's, and with values outside [0, 1]. Source: Liu Z. et al. 2024, algorithms 1 and 2.
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
    surrogate_steps: int | None = None

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
        return self._made(x, draws, _tries(x, attempts), steps)

    def _made(self, x: Tensor, draws: Draws, tries: Sequence[Try], steps: int) -> Tensor:
        parts = [(attempt, x[rows], draws[rows].stream(f"attempt {attempt}")) for attempt, rows in tries]
        noises = [counted(stream.stream("noise"), some) for _, some, stream in parts]
        shares, given = levels(self.part.noise or 1.0, steps), 2 * torch.cat([some for _, some, _ in parts]) - 1

        def noise() -> Tensor:
            return torch.cat([one() for one in noises])

        if self.part.noise is None:
            masks = [self.mask(some, stream, place).expand(len(some), -1, -1, -1) for place, some, stream in parts]
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

    def distances(self, x: Tensor, draws: Draws, tries: Sequence[Try], steps: int) -> Tensor:
        """How far each attempt moves its images, attempt after attempt, as many together as one pass takes: (sum of rows,)."""
        found = []
        for some in _passes(tries):
            rows = torch.cat([rows for _, rows in some])
            found.append(self.distance(x[rows], self._made(x, draws, some, steps)))
        return torch.cat(found)

    def _score(self, x: Tensor, draws: Draws, attempts: int, steps: int) -> Tensor:
        """The median over attempts, differentiated through those in the middle alone: (B,)."""
        sides(x, "lift_map_detect")
        require_inputs(x, self.model, "lift_map_detect")
        tries, middle = _tries(x, range(attempts)), slice((attempts - 1) // 2, attempts // 2 + 1)
        differentiable = torch.is_grad_enabled() and x.requires_grad and len(x) > 0
        if not differentiable or attempts <= 2:
            found = self.distances(x, draws, tries, steps).view(attempts, len(x))
            return found.sort(0).values[middle].mean(0)
        with torch.no_grad():
            chosen = self.distances(x, draws, tries, steps).view(attempts, len(x)).argsort(0)[middle]
        tries = [(attempt, (chosen == attempt).any(0).nonzero()[:, 0]) for attempt, _ in tries]
        found = self.distances(x, draws, [one for one in tries if len(one[1])], steps)
        return torch.zeros(len(x)).to(x).index_add(0, torch.cat([rows for _, rows in tries]), found) / len(chosen)


def _tries(x: Tensor, attempts: range) -> list[Try]:
    """All images in every attempt."""
    return [(attempt, torch.arange(len(x), device=x.device)) for attempt in attempts]


def _passes(tries: Sequence[Try]) -> Iterator[list[Try]]:
    """Attempts in groups of at most TOGETHER images, one attempt at least."""
    group: list[Try] = []
    for one in tries:
        if group and sum(len(rows) for _, rows in group) + len(one[1]) > TOGETHER:
            yield group
            group = []
        group.append(one)
    yield group


@dataclass(frozen=True, eq=False)
class LiftMapWithSurrogate(LiftMap):
    """The same score, differentiated by a shorter one."""

    def surrogate(self, x: Tensor, /) -> Tensor:
        """Two attempts of few steps with the same noise for every input: (B, C, H, W) -> (B,)."""
        return self._score(x, SameDraws(len(x)), min(2, self.part.attempts), self.part.surrogate_steps or 1)
