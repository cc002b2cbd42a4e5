"""Systems altered so that every input provably has an adversarial neighbour: what an attack must find to be believed.

The penultimate features of each input are given a read-out of their own, with two classes: noise well inside the ball keeps
the label, one point on its boundary has lost it. In the inverted form the detector is turned round as well: it accepts
only what is about as suspicious as that point, so that most of what has lost the label is rejected.
Source: Zimmermann et al. 2022, "Increasing Confidence in Adversarial Robustness Evaluations", algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.rounding import TOLERANCE, round_inside
from harness.system import ContractError, Judge, System
from harness.types import Draws, Outputs, Split

NORMS = ("linf", "l2")
INNER = 999  # noise points an input, beside the input itself
CANDIDATES = 16  # boundary points of which one is chosen, where a detector has a say
ETA = 0.95  # radius of the noise, as a share of epsilon
BETWEEN = 0.5  # where the label is lost, on the way from the outermost noise point to the boundary point
RIDGE = 0.1  # of the mean variance of the features: a feature that noise hardly moves decides nothing alone
SCALE = 10.0  # logits between the mean of the noise and the boundary point
_AT_ONCE = 32  # inputs
_POINTS = 100  # noise points of a pass
_WHICH = 0  # no integer lies below 0: a question that no part asks


@dataclass(frozen=True)
class Numbered:
    """Draws that also know which input each row belongs to, whatever subset, order or copies an attack makes of them."""

    number: Tensor
    inner: Draws

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        return self.inner.uniform(*shape, draw=draw)

    def normal(self, *shape: int, draw: int = 0) -> Tensor:
        return self.inner.normal(*shape, draw=draw)

    def integers(self, high: int, *shape: int, draw: int = 0) -> Tensor:
        return self.number if high == _WHICH else self.inner.integers(high, *shape, draw=draw)

    def stream(self, name: str | int) -> Numbered:
        return Numbered(self.number, self.inner.stream(name))

    def __getitem__(self, rows: Tensor) -> Numbered:
        return Numbered(self.number[rows], self.inner[rows])


@dataclass(frozen=True)
class Penultimate:
    """The penultimate layer in the place of a classifier: (B, *S) -> (B, F)."""

    network: Any

    def __call__(self, x: Tensor, /) -> Tensor:
        features: Tensor = self.network.features(x)
        return features.flatten(1)

    def features(self, x: Tensor, /) -> Tensor:
        """The same."""
        return self(x)


@dataclass(frozen=True, kw_only=True)
class Binarised(System):
    """A system with a read-out for each input, weight (N, F) and bias (N,): two classes, of which 0 is everybody's label.

    Where a detector is, an input is accepted iff slope times (suspicion - level) is at most 0, level and slope (N,): a
    negative slope turns the detector round.
    """

    weight: Tensor
    bias: Tensor
    level: Tensor
    slope: Tensor

    def __call__(self, x: Tensor, draws: Draws) -> Outputs:
        """Logits (B, 2), and the margin where a detector is; draws must be those of the inputs, `Numbered`."""
        features, scores = self.scores(x, draws)
        number = draws.integers(_WHICH)
        value = torch.einsum("bf,bf->b", features, self.weight[number]) + self.bias[number]
        logits = torch.stack([-value / 2, value / 2], 1)
        if not scores:
            return Outputs(logits)
        return Outputs(logits, self.slope[number] * (self.combined(scores) - self.level[number]))


@dataclass(frozen=True)
class Binarisation:
    """The altered system, the inputs with label 0 whose neighbour is known, and that neighbour (B, *S).

    asked: inputs that were to be altered. rejected: share of the noise that the detector rejects (0 without one).
    """

    system: Binarised
    data: Split
    neighbour: Tensor
    asked: int
    rejected: float


def noise(x: Tensor, norm: str, radius: float, draws: Draws, number: int) -> Tensor:
    """Points inside ball and box, all over it; in linf every other one is a corner: (B, *S) -> (B, number, *S)."""
    uniform = draws.uniform(number, *x.shape[1:]).to(x)
    if norm == "linf":
        offset = 2 * uniform - 1
        offset[:, ::2] = offset[:, ::2].sign()
        return (x[:, None] + radius * offset).clamp_(0, 1)
    length = draws.stream("length").uniform(number).to(x) ** (1 / x[0].numel())
    return _at_length(x, draws.normal(number, *x.shape[1:]).to(x), radius * length)


def on_boundary(x: Tensor, norm: str, radius: float, draws: Draws, number: int) -> Tensor:
    """Points at the distance `radius` in random directions, in the box: corners of the linf ball, of the l2 ball any.

    (B, *S) -> (B, number, *S).
    """
    if norm == "linf":
        sign = 2 * draws.integers(2, number, *x.shape[1:]).to(x) - 1
        return (x[:, None] + radius * sign).clamp_(0, 1)
    direction = draws.normal(number, *x.shape[1:]).to(x)
    return _at_length(x, direction, torch.full(direction.shape[:2], radius, device=x.device, dtype=x.dtype))


def _at_length(x: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """Points of the box at Euclidean distances (B, number) from x, along directions (B, number, *S) cut by the box.

    The distance reached is concave in the stretch of the direction, so that the iteration rises to it from below.
    """
    ones = (1,) * (x.ndim - 1)
    stretch = length / direction.flatten(2).norm(dim=2).clamp_min(1e-12)
    moved = x[:, None]
    for _ in range(12):
        moved = (x[:, None] + direction * stretch.view(*stretch.shape, *ones)).clamp_(0, 1)
        reached = (moved - x[:, None]).flatten(2).norm(dim=2)
        stretch = stretch * length / reached.clamp_min(1e-12)
    return moved


def read_out(inner: Tensor, neighbour: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The linear functions that are highest at the neighbours among the noise: weight (B, F), bias (B,), separated (B,).

    inner (B, N, F), neighbour (B, F), float64. Fisher's discriminant, the covariance of the noise with a ridge; positive
    where the label is lost, by BETWEEN on the way from the highest noise point to the neighbour.
    """
    centre = inner.mean(1)
    spread = inner - centre[:, None]
    covariance = spread.mT @ spread / inner.shape[1]
    size = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    ridge = RIDGE * size[:, None, None] * torch.eye(inner.shape[2], dtype=inner.dtype, device=inner.device)
    offset = neighbour - centre
    weight = torch.linalg.solve(covariance + ridge, offset)
    weight = weight / (weight * offset).sum(1, keepdim=True).clamp_min(1e-30)
    highest = torch.einsum("bnf,bf->bn", spread, weight).amax(1)
    lost = highest + BETWEEN * (1 - highest)
    bias = -torch.einsum("bf,bf->b", weight, centre) - lost
    return SCALE * weight, SCALE * bias, highest < 1


def binarise(system: System, data: Split, *, norm: str, epsilon: float, inverted: bool = False) -> Binarisation:
    """The system with read-outs that guarantee a neighbour of each input; inverted: its detector turned round as well.

    Inputs whose neighbour does not fool the altered system after all are left out. Raises ValueError for a norm without
    boundary points or a ball that holds nothing but its centre, ContractError for a classifier that hides its features.
    """
    _check(system, data, norm, epsilon, inverted)
    bare = replace(system, classifier=Penultimate(system.classifier))
    everybody = torch.arange(len(data), device=data.y.device)
    parts = [
        _altered(bare, data[rows], norm=norm, epsilon=epsilon, inverted=inverted)
        for rows in torch.split(everybody, _AT_ONCE)
    ]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    own = {name: joined[name].float() for name in ("weight", "bias", "level", "slope")}
    altered = Binarised(bare.classifier, bare.parts, bare.curves, bare.threshold, **own)
    draws = Numbered(everybody, data.draws)
    asked = Split(data.x, torch.zeros_like(data.y), data.index, 2, data.levels, draws)
    judge, neighbour = Judge(altered, norm, data.levels), joined["neighbour"]
    fooled = judge(neighbour, data.x, asked.y, epsilon, draws.stream("guarantee"))
    held = ~judge(data.x, data.x, asked.y, 0.0, draws.stream("guarantee"))
    rows = (fooled & held).nonzero()[:, 0]
    return Binarisation(altered, asked[rows], neighbour[rows], len(data), float(joined["rejected"].mean()))


def _check(system: System, data: Split, norm: str, epsilon: float, inverted: bool) -> None:
    """Raise an error where the question makes no sense."""
    if not hasattr(system.classifier, "features"):
        raise ContractError("the classifier shows no penultimate layer (features); the binarisation test reads it out")
    if norm not in NORMS:
        raise ValueError(f"the binarisation test has boundary points in {' and '.join(NORMS)}, not in '{norm}'")
    if data.levels is not None and epsilon * data.levels * (1 + TOLERANCE) < 1:
        raise ValueError(
            f"epsilon {epsilon:g} is less than a step of the data's grid, 1/{data.levels}: the ball holds no other input"
        )
    if inverted and not system.rejects:
        raise ValueError("the inverted test turns a detector round, but the system has none")


@torch.no_grad()
def _altered(bare: System, data: Split, *, norm: str, epsilon: float, inverted: bool) -> dict[str, Tensor]:
    """Read-out, level, slope and neighbour of some inputs, the share of noise rejected; each (B, ..)."""
    draws = data.draws.stream("binarise")
    features, suspicion = _noise_seen(bare, data, draws, norm, ETA * epsilon)
    number = CANDIDATES if bare.rejects else 1
    candidates = on_boundary(data.x, norm, epsilon, draws.stream("boundary"), number)
    candidates = _on_grid(candidates, data, norm, epsilon)
    lost, lost_suspicion = _seen(bare, candidates, draws)
    chosen = (lost_suspicion if inverted else -lost_suspicion).argmax(1)
    rows = torch.arange(len(data), device=data.y.device)
    level = torch.full_like(suspicion[:, 0], bare.threshold)
    slope = torch.ones_like(level)
    if inverted:
        level, slope = _turned_round(suspicion, lost_suspicion[rows, chosen])
    weight, bias, separated = read_out(features.double(), lost[rows, chosen].double())
    return {
        "weight": weight,
        "bias": torch.where(separated, bias, -torch.inf),
        "level": level,
        "slope": slope,
        "neighbour": candidates[rows, chosen],
        "rejected": (slope[:, None] * (suspicion - level[:, None]) > 0).float().mean(1),
    }


def _turned_round(suspicion: Tensor, neighbour: Tensor) -> tuple[Tensor, Tensor]:
    """The level that an input's suspicion must reach to be accepted, and a slope that gives the noise a margin of 2."""
    highest, mean = suspicion.amax(1), suspicion.mean(1)
    between = highest + BETWEEN * (neighbour - highest)
    level = torch.where(neighbour > highest, between, neighbour - 1e-4 * (1 + neighbour.abs()))
    return level, -2 / (level - mean).clamp_min(1e-3)


def _noise_seen(bare: System, data: Split, draws: Draws, norm: str, radius: float) -> tuple[Tensor, Tensor]:
    """Features (B, N, F) and suspicion (B, N) of the inputs and of noise on the data's grid."""
    found = [_seen(bare, data.x[:, None], draws)]
    for start in range(0, INNER, _POINTS):
        mine = draws.stream(f"noise {start}")
        points = noise(data.x, norm, radius, mine, min(_POINTS, INNER - start))
        found.append(_seen(bare, _on_grid(points, data, norm, radius), mine))
    return torch.cat([features for features, _ in found], 1), torch.cat([suspicion for _, suspicion in found], 1)


def _on_grid(points: Tensor, data: Split, norm: str, radius: float) -> Tensor:
    """Points (B, n, *S) rounded to the grid of the data, inside the ball."""
    centres = data.x.repeat_interleave(points.shape[1], 0)
    return round_inside(points.flatten(0, 1), centres, norm=norm, epsilon=radius, levels=data.levels).view_as(points)


def _seen(bare: System, points: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Features (B, n, F) and suspicion (B, n), 0 without a detector, of points (B, n, *S)."""
    number, points = points.shape[:2], points.flatten(0, 1)
    copies = draws[torch.arange(number[0], device=points.device).repeat_interleave(number[1])]
    features, scores = bare.scores(points, copies)
    suspicion = bare.combined(scores) if scores else torch.zeros(len(points), device=points.device)
    return features.view(*number, -1), suspicion.view(number)
