"""The moves of the Square attack: where it begins and what it tries next, for many inputs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attacks._ball import Feasible, LinfBall, per_input
from attacks._windows import bump, places, sides
from harness.types import Draws

Image = tuple[int, int, int]


class Move(Protocol):
    """A start and proposals; `numbers` uniform numbers in [0, 1) are used for each input and proposal."""

    @property
    def numbers(self) -> int: ...

    def start(self, feasible: Feasible, draws: Draws) -> Tensor:
        """Where the search begins: (B, *S)."""
        ...

    def propose(self, candidate: Tensor, feasible: Feasible, numbers: Tensor, share: float) -> Tensor:
        """A change of each candidate (B, *S) in a square of `share` of the pixels; numbers (B, self.numbers)."""
        ...


def _unit(values: Tensor) -> Tensor:
    """Each channel (B, C, n) divided by its length."""
    length: Tensor = torch.linalg.vector_norm(values, dim=2, keepdim=True)
    return values / length.clamp_min(1e-12)


def _sign(numbers: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0)


@dataclass(frozen=True)
class Ends:
    """linf: squares set to an end of the ball for each channel (Andriushchenko et al. 2020, algorithm 2)."""

    image: Image

    @property
    def numbers(self) -> int:
        return 2 + self.image[0]

    def start(self, feasible: Feasible, draws: Draws) -> Tensor:
        """Columns at one end of the ball or the other, for each channel."""
        assert isinstance(feasible, LinfBall)
        channels, height, width = self.image
        upper = draws.uniform(channels, 1, width).to(feasible.x) < 0.5
        upper = upper.expand(-1, -1, height, -1).reshape(feasible.x.shape)
        return torch.where(upper, feasible.upper, feasible.lower)

    def propose(self, candidate: Tensor, feasible: Feasible, numbers: Tensor, share: float) -> Tensor:
        assert isinstance(feasible, LinfBall)
        channels, height, width = self.image
        size = sides(share * height * width, height, width)
        index = places((numbers[:, 0], numbers[:, 1]), size, self.image)
        upper = (numbers[:, 2:] < 0.5)[:, :, None]
        low, high = (
            end.reshape(-1, channels, height * width).gather(2, index) for end in (feasible.lower, feasible.upper)
        )
        changed = candidate.reshape(-1, channels, height * width).scatter(2, index, torch.where(upper, high, low))
        return changed.view_as(candidate)


@dataclass(frozen=True)
class Bumps:
    """l2: the change of one square is moved into another, where two hills are added (ibid., algorithm 3)."""

    image: Image

    @property
    def numbers(self) -> int:
        return 5 + self.image[0]

    def start(self, feasible: Feasible, draws: Draws) -> Tensor:
        """Five rows and columns of hills, of random sign for each channel, together epsilon long."""
        channels, height, width = self.image
        tall, wide = max(height // 5, 1), max(width // 5, 1)
        down, across = height // tall, width // wide
        hills = bump(tall, wide, sideways=False).to(feasible.x).repeat(down, across)
        signs = _sign(draws.uniform(channels, down, across).to(feasible.x))
        signs = signs.repeat_interleave(tall, 2).repeat_interleave(wide, 3)
        change = feasible.x.new_zeros(len(feasible.x), channels, height, width)
        top, left = (height - down * tall) // 2, (width - across * wide) // 2
        change[:, :, top : top + down * tall, left : left + across * wide] = hills * signs
        return self._placed(change.flatten(1), feasible)

    def propose(self, candidate: Tensor, feasible: Feasible, numbers: Tensor, share: float) -> Tensor:
        channels, height, width = self.image
        size = sides(share * height * width, height, width, odd=True)
        change = (candidate - feasible.x).reshape(-1, channels, height * width)
        target = places((numbers[:, 0], numbers[:, 1]), size, self.image)
        source = places((numbers[:, 2], numbers[:, 3]), size, self.image)
        used = change.square().sum((1, 2))[:, None, None]
        before = change.gather(2, target)
        moved = change.gather(2, source).square().sum(2, keepdim=True)
        change.scatter_(2, source, 0.0)
        moved += change.gather(2, target).square().sum(2, keepdim=True)
        unused = (feasible.epsilon**2 - used).clamp_min(0) / channels
        change.scatter_(2, target, self._hills(numbers, size, before) * (unused + moved).sqrt())
        return self._placed(change.flatten(1), feasible)

    def _hills(self, numbers: Tensor, size: tuple[int, int], before: Tensor) -> Tensor:
        """Hills of random direction and sign, added to the change that was there, of length one a channel: (B, C, size)."""
        both = torch.stack([bump(*size, sideways=sideways).flatten() for sideways in (False, True)])
        hills = both.to(before)[(numbers[:, 4] < 0.5).long()][:, None] * _sign(numbers[:, 5:])[:, :, None]
        return _unit(hills + _unit(before))

    def _placed(self, change: Tensor, feasible: Feasible) -> Tensor:
        """The inputs with changes (B, D), each made epsilon long before the box cuts it."""
        length = change.norm(dim=1).clamp_min(1e-12)
        change = change.view_as(feasible.x) * per_input(feasible.epsilon * (1 - 1e-6) / length, feasible.x)
        return change.add_(feasible.x).clamp_(0, 1)
