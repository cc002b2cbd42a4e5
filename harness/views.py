"""What an attacker sees of a system: the deployed pipeline, other gradients through it, clean inputs of his own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.gradients import Count, Forward, counted, estimated, replaced
from harness.rewritten import Smooth, Unrolled, under
from harness.stand_in import outputs_of
from harness.system import REJECTED, Judge, System, answers
from harness.types import Draws, Loaded, Outputs, Split, State, View

DIRECTIONS = 20  # antithetic pairs of an estimated gradient


@dataclass(frozen=True)
class Knowledge:
    """What the harness found out about a system and hands to an attacker who uses it."""

    evidence: Mapping[str, Any] = field(default_factory=dict)
    stand_in: State = field(default_factory=dict)
    clean: Split | None = None


def view(
    judge: Judge,
    *,
    num_classes: int,
    early_exit: bool,
    count: Count,
    knowledge: Knowledge | None = None,
    sigma: float = 0.05,
) -> View:
    """What an attacker may call of a system; sigma: length of the directions of an estimated gradient."""
    system, known = judge.system, knowledge or Knowledge()

    def decide(x: Tensor, draws: Draws) -> Tensor:
        count.forwards += len(x)
        label, margin = answers(system, x, draws)
        return torch.where(margin <= 0, label, REJECTED)

    def fooled(candidate: Tensor, x: Tensor, y: Tensor, epsilon: float, draws: Draws) -> Tensor:
        count.forwards += len(candidate) * (judge.selection if system.random else 1)
        return judge(candidate, x, y, epsilon, draws)

    def finished(forward: Forward) -> Forward:
        forward = surviving(forward, num_classes=num_classes, rejects=system.rejects)
        return counted(_logarithms(forward) if known.evidence.get("probabilities") else forward, count)

    others = {}
    for name in known.evidence.get("estimators", ()):
        if name in _THROUGH or (name == "stand_in" and known.stand_in) or name == "estimated":
            others[name] = finished(through(system, name, stand_in=known.stand_in, sigma=sigma))
    return View(
        decide=decide,
        fooled=fooled,
        forward=finished(system),
        parts=(Loaded("classifier", "classifier", system.classifier), *system.parts),
        num_classes=num_classes,
        early_exit=early_exit,
        random=system.random,
        features=features_of(system),
        gradients=others,
        clean=known.clean,
        evidence=known.evidence,
    )


def surviving(forward: Forward, *, num_classes: int, rejects: bool) -> Forward:
    """A pass that answers even where the defense raises: there the logits are not a number, and the input is accepted."""

    def call(x: Tensor, draws: Draws) -> Outputs:
        try:
            return forward(x, draws)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            if len(x) <= 1:
                logits = torch.full((len(x), num_classes), torch.nan, device=x.device)
                return Outputs(logits, torch.full((len(x),), -torch.inf, device=x.device) if rejects else None)
        parts = [call(x[rows], draws[rows]) for rows in torch.arange(len(x), device=x.device).chunk(2)]
        margins = [part.margin for part in parts if part.margin is not None]
        return Outputs(torch.cat([part.logits for part in parts]), torch.cat(margins) if margins else None)

    return call


def _logarithms(forward: Forward) -> Forward:
    """Logarithms of outputs that are probabilities, so that a loss on logits means what it says."""

    def call(x: Tensor, draws: Draws) -> Outputs:
        outputs = forward(x, draws)
        return Outputs(outputs.logits.clamp_min(1e-30).log(), outputs.margin)

    return call


def features_of(system: System) -> Callable[[Tensor, Draws], Tensor] | None:
    """The classifier's penultimate layer behind the purifiers; None where the classifier does not show it."""
    features = getattr(system.classifier, "features", None)
    return None if features is None else lambda x, draws: features(system.purified(x, draws)).flatten(1)


@dataclass(frozen=True)
class _With:
    """A part's callable with another gradient, or without the surrogate that it declares."""

    call: Callable[..., Tensor]
    surrogate: Callable[[Tensor], Tensor] | None = None

    def __call__(self, *args: Any) -> Tensor:
        return self.call(*args)


def _identity(system: System) -> Forward:
    """Purifiers let a gradient pass as it is (Athalye et al. 2018, section 4.1.2)."""
    parts = (
        replace(part, call=_With(part.call, lambda x: x)) if part.role == "purifier" else part for part in system.parts
    )
    return replace(system, parts=tuple(parts))


def _rewritten(mode: type[TorchFunctionMode]) -> Callable[[System], Forward]:
    def call(system: System) -> Forward:
        parts = (replace(part, call=_With(under(mode, part.call))) for part in system.parts)
        return replace(system, parts=tuple(parts), classifier=under(mode, system.classifier))

    return call


def _removed(system: System) -> Forward:
    """The gradient of the system without its purifiers."""
    kept = tuple(part for part in system.parts if part.role != "purifier")
    return replaced(system, replace(system, parts=kept))


_THROUGH: dict[str, Callable[[System], Forward]] = {
    "identity": _identity,
    "smooth": _rewritten(Smooth),
    "unrolled": _rewritten(Unrolled),
    "removed": _removed,
}


def through(system: System, name: str, *, stand_in: State | None = None, sigma: float = 0.05) -> Forward:
    """The system's outputs with the gradient of an estimator (harness.gradients.ESTIMATORS)."""
    if name == "stand_in":
        return replaced(system, outputs_of(stand_in or {}))
    if name == "estimated":
        return estimated(system, number=DIRECTIONS, sigma=sigma)
    return system if name == "own" else _THROUGH[name](system)
