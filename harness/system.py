"""The deployed pipeline: one score, one threshold; and what an attacker sees of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.gradients import bpda
from harness.rounding import round_inside
from harness.types import Draws, Loaded, Logits, Outputs, State

REJECTED = -1
INVALID = -2
_LEVELS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


class ContractError(RuntimeError):
    """A part that does not keep its contract: what was given, what was expected."""


@dataclass(frozen=True)
class Curve:
    """A detector's score in calibrated units: minus log10 of the share of clean inputs with a larger score.

    Piecewise linear between quantiles, continued with the mean slope of the upper half on both sides, so that it is increasing
    and has a gradient everywhere. 2 is a score that one clean input in a hundred exceeds.
    """

    scores: Tensor
    units: Tensor

    @classmethod
    def of(cls, scores: Tensor) -> Curve:
        """The curve through the quantiles of clean scores (n,)."""
        ordered = scores.double().sort().values
        n = len(ordered)
        levels = torch.tensor(
            [level for level in _LEVELS if (1 - level) * n >= 3], dtype=torch.float64, device=scores.device
        )
        knots = torch.quantile(ordered, levels)
        keep = torch.ones(len(knots), dtype=torch.bool, device=scores.device)
        keep[:-1] = knots[1:] > knots[:-1]  # of equal scores, the last: the largest share is below it
        units = -torch.log10(1 - levels)
        if int(keep.sum()) == 1:  # a constant score: one unit a unit
            return cls(torch.stack([knots[-1], knots[-1] + 1]), torch.stack([units[-1], units[-1] + 1]))
        return cls(knots[keep], units[keep])

    def __call__(self, score: Tensor) -> Tensor:
        """Calibrated units: (B,) -> (B,), differentiable."""
        knots, units = self.scores.to(score.device), self.units.to(score.device)
        slopes = (units[1:] - units[:-1]) / (knots[1:] - knots[:-1])
        middle = len(knots) // 2
        end = (units[-1] - units[middle - 1]) / (knots[-1] - knots[middle - 1])
        slopes = torch.cat([end[None], slopes, end[None]])
        place = torch.searchsorted(knots, score.detach().double().contiguous())
        base = (place - 1).clamp(min=0)
        return (units[base] + slopes[place] * (score.double() - knots[base])).float()


@dataclass(frozen=True)
class System:
    """A classifier with its purifiers and detectors in order; detectors have curves, and together one threshold.

    Called with inputs and draws, it gives logits and margin; the same code serves judge and attacker.
    """

    classifier: Logits
    parts: tuple[Loaded, ...] = ()
    curves: tuple[Curve, ...] = ()
    threshold: float = float("inf")

    @property
    def random(self) -> bool:
        """Whether a part draws random numbers."""
        return any(part.random for part in self.parts)

    @property
    def rejects(self) -> bool:
        """Whether a part may reject."""
        return any(part.role == "detector" for part in self.parts)

    def scores(self, x: Tensor, draws: Draws) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, K) and the raw score (B,) of each detector."""
        scores: list[Tensor] = []
        for place, part in enumerate(self.parts):
            value = _call(part, x, draws.stream(f"part {place}"))
            if part.role == "detector":
                scores.append(_shaped(value, (len(x),), part))
            else:
                x = _shaped(value, tuple(x.shape), part)
        logits = self.classifier(x).float()
        if logits.ndim != 2 or len(logits) != len(x):
            raise ContractError(f"the classifier gives {tuple(logits.shape)} for {len(x)} inputs; expected (B, K)")
        return logits, scores

    def purified(self, x: Tensor, draws: Draws) -> Tensor:
        """What the classifier sees of an input: (B, *S) -> (B, *S)."""
        for place, part in enumerate(self.parts):
            if part.role != "detector":
                x = _shaped(_call(part, x, draws.stream(f"part {place}")), tuple(x.shape), part)
        return x

    def __call__(self, x: Tensor, draws: Draws) -> Outputs:
        """Logits and margin: the largest calibrated score less the threshold."""
        logits, scores = self.scores(x, draws)
        if not scores:
            return Outputs(logits)
        return Outputs(logits, self.combined(scores) - self.threshold)

    def combined(self, scores: Sequence[Tensor]) -> Tensor:
        """The system's score: the largest of its detectors' in calibrated units, (B,)."""
        units = [curve(score) for curve, score in zip(self.curves, scores, strict=True)]
        return torch.stack(units).amax(0)

    @torch.no_grad()
    def judge(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Label of each input and its margin, (B,) each; a label that is not finite is INVALID, which no input is right with."""
        outputs = self(x, draws)
        labels = outputs.logits.argmax(1)
        margin = torch.zeros(len(x), device=x.device) if outputs.margin is None else outputs.margin
        broken = ~torch.isfinite(outputs.logits).all(1) | torch.isnan(margin)
        return torch.where(broken, INVALID, labels), torch.where(broken, float("-inf"), margin)


def answers(system: System, x: Tensor, draws: Draws, *, strict: bool = False) -> tuple[Tensor, Tensor]:
    """As `System.judge`; an exception is the answer of the one input that causes it: INVALID, and accepted.

    strict: it is raised, and so is an answer that is not finite, as ContractError: the inputs are clean.
    """
    try:
        label, margin = system.judge(x, draws)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        if strict:
            raise
        if len(x) <= 1:
            return torch.full((len(x),), INVALID, device=x.device), torch.full((len(x),), -torch.inf, device=x.device)
        halves = torch.arange(len(x), device=x.device).chunk(2)
        pairs = [answers(system, x[rows], draws[rows]) for rows in halves]
        return torch.cat([label for label, _ in pairs]), torch.cat([margin for _, margin in pairs])
    if strict and bool((label == INVALID).any()):
        raise ContractError(f"{int((label == INVALID).sum())} of {len(x)} answers on clean inputs are not finite")
    return label, margin


def _call(part: Loaded, x: Tensor, draws: Draws) -> Tensor:
    """The part's value, with the gradient of its surrogate where it declares one."""
    function: Callable[[Tensor], Tensor] = (lambda z: part.call(z, draws)) if part.random else part.call
    surrogate = getattr(part.call, "surrogate", None)
    return bpda(function, surrogate)(x) if surrogate is not None else function(x)


def _shaped(value: Tensor, shape: tuple[int, ...], part: Loaded) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        given = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ContractError(f"{part.role} {part.name} gives {given}; expected a tensor of shape {shape}")
    if not value.is_floating_point():
        raise ContractError(f"{part.role} {part.name} gives {value.dtype}; expected floating point")
    return value.float()


def calibrate(system: System, scores: Sequence[Tensor], rates: Sequence[float]) -> State:
    """Curves of clean scores (n,) a detector, and the system's threshold at each false-positive rate.

    The threshold is the ceil((n + 1)(1 - rate))-th smallest system score; an input is accepted iff its score is at most that.
    """
    state: State = {}
    for place, score in enumerate(scores):
        if not torch.isfinite(score).all():
            raise ContractError(f"detector {place + 1} gives scores that are not finite on clean inputs")
        curve = Curve.of(score)
        state |= {f"scores.{place}": curve.scores.cpu(), f"units.{place}": curve.units.cpu()}
    curves = curves_of(state)
    combined = torch.stack([curve(score) for curve, score in zip(curves, scores, strict=True)]).amax(0)
    ordered = combined.sort().values
    n = len(ordered)
    for rate in rates:
        place = min(n, math.ceil((n + 1) * (1 - rate) - 1e-9))
        state[f"threshold.{rate:g}"] = ordered[place - 1].double().cpu()
    return state


def curves_of(state: State) -> tuple[Curve, ...]:
    """The curves of a calibration, in the order of the detectors."""
    number = sum(name.startswith("scores.") for name in state)
    return tuple(Curve(state[f"scores.{i}"], state[f"units.{i}"]) for i in range(number))


@dataclass(frozen=True)
class Judge:
    """The harness's verdict on candidates for one system: rounded to the grid inside the ball, then wrong and accepted?

    A random system is fooled when it is in at least 19 of 20 selection draws.
    """

    system: System
    norm: str
    levels: int | None
    selection: int = 20

    def __call__(self, candidate: Tensor, x: Tensor, y: Tensor, epsilon: float, draws: Draws) -> Tensor:
        """(B,) bool."""
        rounded = round_inside(candidate, x, norm=self.norm, epsilon=epsilon, levels=self.levels)
        if not self.system.random:
            return self.fooled(rounded, y, draws)
        fooled = [self.fooled(rounded, y, draws.stream(f"select {i}")) for i in range(self.selection)]
        return torch.stack(fooled).float().mean(0) >= 0.95

    def fooled(self, x: Tensor, y: Tensor, draws: Draws) -> Tensor:
        """Wrong and accepted in one pass: (B,) bool."""
        label, margin = answers(self.system, x, draws)
        return (label != y) & (margin <= 0)
