"""Feasible sets: the ball round x, cut with the box [0, 1]; every point given back obeys the norm in float32 too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from harness.types import Budget, Draws

ROUNDING = 2.0**-25  # of one float32 element in [0, 1], at most
PASSES = 8  # of the l2 projection, at most: each is feasible, each nearer; three or four suffice on images
SEARCHES = 60  # of the l1 projection, at most: it ends when every threshold lies between two neighbouring kinks
SHARE = 0.05  # of the elements, that a step in l1 changes unless it is told how many


class Feasible(Protocol):
    """The points an attack may give back, one set for each input; `x` (B, *S) holds the centers."""

    @property
    def x(self) -> Tensor: ...

    @property
    def epsilon(self) -> float: ...

    def project(self, candidate: Tensor) -> Tensor:
        """The nearest feasible points; overwrites `candidate` (B, *S) and returns it."""
        ...

    def direction(self, gradient: Tensor) -> Tensor:
        """Steepest ascent of length one in the norm of the set, zero where the gradient is: (B, *S) -> (B, *S)."""
        ...

    def start(self, draws: Draws) -> Tensor:
        """A random feasible point for each input."""
        ...

    def __getitem__(self, rows: Tensor) -> Feasible: ...


@dataclass(frozen=True)
class Narrowed:
    """What sets inside another one share: its centers, its epsilon, and a start that is projected."""

    inner: Feasible

    @property
    def x(self) -> Tensor:
        return self.inner.x

    @property
    def epsilon(self) -> float:
        return self.inner.epsilon

    def project(self, candidate: Tensor) -> Tensor:
        """The set's own; see Feasible."""
        raise NotImplementedError

    def start(self, draws: Draws) -> Tensor:
        return self.project(self.inner.start(draws))


def per_input(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, .., 1), to be broadcast over `like` (B, *S)."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def unit(vectors: Tensor) -> Tensor:
    """Each of (B, *S) divided by its Euclidean length; zero stays zero, and nothing underflows."""
    flat = vectors.flatten(1)
    tiny = torch.finfo(flat.dtype).tiny
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(tiny)
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return (flat / length.clamp_min_(tiny)).view_as(vectors)


@dataclass(frozen=True)
class LinfBall:
    """Every element within epsilon of x, between `lower` and `upper`."""

    x: Tensor
    epsilon: float
    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, x: Tensor, epsilon: float) -> LinfBall:
        """The ball of `epsilon` round x, with ends that float32 does not round outwards."""
        ends = []
        for sign in (-1, 1):
            end = x + sign * epsilon
            end = torch.where((end - x).abs() > epsilon, torch.nextafter(end, x), end)
            ends.append(end.clamp_(0, 1))
        return cls(x, epsilon, *ends)

    def project(self, candidate: Tensor) -> Tensor:
        return candidate.clamp_(self.lower, self.upper)

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def start(self, draws: Draws) -> Tensor:
        """Uniform in the ball, then into the box."""
        noise = draws.uniform(*self.x.shape[1:]).to(self.x)
        return self.project(noise.mul_(2).sub_(1).mul_(self.epsilon).add_(self.x))

    def __getitem__(self, rows: Tensor) -> LinfBall:
        return LinfBall(self.x[rows], self.epsilon, self.lower[rows], self.upper[rows])


@dataclass(frozen=True)
class L2Ball:
    """Euclidean distance to x at most epsilon."""

    x: Tensor
    epsilon: float

    def project(self, candidate: Tensor) -> Tensor:
        """Nearest point of ball and box together, which is clip(x + t (candidate - x)) for one t in (0, 1] per input.

        t grows from the ball's own factor until what the box cuts off is made up for by the other elements.
        """
        offset, size, room = _offset(candidate, self.x)
        rounding = ROUNDING * offset.shape[1] ** 0.5
        most = max(self.epsilon * (1 - 2e-7) - rounding, 0) ** 2
        size_square, room_square = size.square(), room.square()
        t = (most / size_square.sum(1, keepdim=True).clamp_min_(1e-30)).sqrt_().clamp_(max=1)
        for _ in range(PASSES):
            whole = (size * t < room).to(size.dtype)
            free = torch.linalg.vecdot(size_square, whole).unsqueeze(1)
            used = torch.linalg.vecdot(room_square, whole.neg_().add_(1)).unsqueeze(1)
            further = ((most - used).clamp_min_(0) / free.clamp_min_(1e-30)).sqrt_().clamp_(max=1).maximum(t)
            settled = bool((further - t <= 1e-6 * further).all())
            t = further
            if settled:
                break
        kept = torch.minimum(size.mul_(t), room).copysign_(offset)
        return torch.add(self.x, kept.view_as(self.x), out=candidate).clamp_(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        return unit(gradient)

    def start(self, draws: Draws) -> Tensor:
        """Uniform in the ball, then into the box."""
        shape = self.x.shape[1:]
        radius = draws.uniform(draw=1).to(self.x) ** (1 / shape.numel())
        direction = unit(draws.normal(*shape).to(self.x))
        return self.project(self.x + self.epsilon * per_input(radius, self.x) * direction)

    def __getitem__(self, rows: Tensor) -> L2Ball:
        return L2Ball(self.x[rows], self.epsilon)


@dataclass(frozen=True)
class L1Ball:
    """Sum of the absolute changes at most epsilon."""

    x: Tensor
    epsilon: float

    def project(self, candidate: Tensor) -> Tensor:
        """Nearest point of ball and box together (Croce and Hein 2021, proposition 1): every change falls by one threshold.

        The sum of what is left, each change cut where the box ends, is piecewise linear in the threshold: Newton's
        steps, halved wherever they leave the interval that holds the root, find it exactly.
        """
        offset, size, room = _offset(candidate, self.x)
        rounding = ROUNDING * offset.shape[1]
        kept = _fallen(size, room, max(self.epsilon * (1 - 2e-7) - rounding, 0)).copysign_(offset)
        return torch.add(self.x, kept.view_as(self.x), out=candidate).clamp_(0, 1)

    def direction(self, gradient: Tensor, number: Tensor | None = None) -> Tensor:
        """Equal steps in the `number` (B,) elements of the largest slopes (SHARE of them if None), of length one together."""
        flat = gradient.flatten(1)
        slopes = flat.abs()
        if number is None:
            number = torch.full((len(flat),), SHARE * flat.shape[1], device=flat.device)
        number = number.long().clamp(1, max(flat.shape[1], 1))
        ordered = slopes.topk(int(number.max()) if len(flat) else 1, dim=1).values
        least = ordered.gather(1, number[:, None] - 1)
        sign = torch.where(slopes >= least, flat.sign(), 0)
        return (sign / sign.abs().sum(1, keepdim=True).clamp_min_(1)).view_as(gradient)

    def start(self, draws: Draws) -> Tensor:
        """Standard normal numbers, then into ball and box."""
        return self.project(self.x + draws.normal(*self.x.shape[1:]).to(self.x))

    def __getitem__(self, rows: Tensor) -> L1Ball:
        return L1Ball(self.x[rows], self.epsilon)


def _offset(candidate: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The change of each element, its size, and the largest that the box allows in its direction: (B, D) each."""
    center = x.flatten(1)
    offset = candidate.flatten(1) - center
    return offset, offset.abs(), torch.where(offset > 0, 1 - center, center)


def _fallen(size: Tensor, room: Tensor, most: float) -> Tensor:
    """min(max(size - t, 0), room) with the least t >= 0 whose sum is at most `most`: (B, D) -> (B, D)."""
    low = torch.zeros(len(size), 1, dtype=size.dtype, device=size.device)
    high, t, goal = size.amax(1, keepdim=True), low, most * (1 - 1e-6)
    kept = torch.minimum(size, room)
    for _ in range(SEARCHES):
        total = kept.sum(1, keepdim=True)
        above = total > most
        low, high = torch.where(above, t, low), torch.where(above, high, t)
        moving = ((kept > 0) & (size - t < room)).sum(1, keepdim=True)
        following = t + (total - goal) / moving
        following = torch.where((following > low) & (following < high), following, (low + high) / 2)
        going = (above | (total < goal * (1 - 1e-6))) & (following > low) & (following < high)
        if not going.any():
            break
        t = torch.where(going, following, t)
        kept = torch.minimum((size - t).clamp_min_(0), room)
    return torch.minimum((size - high).clamp_min_(0), room)


@dataclass(frozen=True)
class L0Ball:
    """At most epsilon pixels differ from x, the channels (axis 1 of more than two) counted together."""

    x: Tensor
    epsilon: float

    def project(self, candidate: Tensor) -> Tensor:
        """Keep the changes that would cost most to undo, after the box has had its share."""
        inside = candidate.clamp(0, 1)
        saved = (candidate - self.x).square() - (candidate - inside).square()
        return candidate.copy_(torch.where(self._largest(_pixels(saved)), inside, self.x))

    def direction(self, gradient: Tensor) -> Tensor:
        """The whole change in the pixel of the largest slope."""
        return gradient.sign() * self._largest(_pixels(gradient.abs()), 1)

    def start(self, draws: Draws) -> Tensor:
        """Uniform values at epsilon random pixels."""
        values = draws.uniform(*self.x.shape[1:]).to(self.x)
        order = draws.uniform(*_pixels(self.x).shape[1:], draw=1).to(self.x)
        return torch.where(self._largest(order), values, self.x)

    def _largest(self, scores: Tensor, number: int | None = None) -> Tensor:
        """Mask of the epsilon (or `number`) pixels of the largest scores (B, *pixels), to be broadcast over x."""
        flat = scores.flatten(1)
        kept = min(int(min(self.epsilon, flat.shape[1])) if number is None else number, flat.shape[1])
        mask = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, flat.topk(kept, dim=1).indices, True)
        mask = mask.view_as(scores)
        return mask.unsqueeze(1) if self.x.ndim > scores.ndim else mask

    def __getitem__(self, rows: Tensor) -> L0Ball:
        return L0Ball(self.x[rows], self.epsilon)


def _pixels(values: Tensor) -> Tensor:
    """The channels added up: (B, C, *pixels) -> (B, *pixels); (B, D) as it is."""
    return values.sum(1) if values.ndim > 2 else values


def ball(x: Tensor, budget: Budget) -> Feasible:
    """The feasible set of a budget round x (B, *S); raises ValueError for a norm without one."""
    if budget.norm == "linf":
        return LinfBall.of(x, budget.epsilon)
    if budget.norm == "l2":
        return L2Ball(x, budget.epsilon)
    if budget.norm == "l1":
        return L1Ball(x, budget.epsilon)
    if budget.norm == "l0":
        return L0Ball(x, budget.epsilon)
    raise ValueError(f"the norm {budget.norm} has no ball; expected linf, l2, l1 or l0")


def length(vectors: Tensor, feasible: Feasible) -> Tensor:
    """Length of each (B, *S) in the norm of a ball of linf or l2: (B,)."""
    order = torch.inf if isinstance(feasible, LinfBall) else 2.0
    found: Tensor = torch.linalg.vector_norm(vectors.flatten(1), ord=order, dim=1)
    return found
