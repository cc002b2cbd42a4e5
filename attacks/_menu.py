"""The menu of adaptive attacks: gradient x aim x support x start, each with a name, those that suit a system listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks._adaptive_step import AdaptiveAscent
from attacks._ball import Feasible, Narrowed, ball
from attacks._directions import (
    feature_matching,
    joint,
    matching,
    orthogonal,
    score_only,
    selective,
    through_decoder,
    with_objective,
)
from attacks._loss import margin as class_margin
from attacks._loss import most_likely_wrong, rescaled_cross_entropy, targeted_margin
from attacks._search import Best, Direction, Search, Standing
from harness.gradients import expectation
from harness.types import Budget, Draws, View

MOST = 24
ENDS = 0.02  # distance from the ends of the box below which a pixel is left alone, where an entry says so
Aim = tuple[Direction, Tensor]


@dataclass(frozen=True)
class Entry:
    """One attack of the menu: whose gradient, what it aims at, which pixels it may change, where it starts.

    samples: draws a gradient is the mean of; the steps are fewer, down to a third, and 2 at least.
    """

    gradient: str
    aim: str
    support: str = "all"
    start: str = "random"
    samples: int = 1

    @property
    def name(self) -> str:
        """As records show it: `own/joint 1`, `smooth/margin, from another class`."""
        extra = [f"{self.samples} draws"] if self.samples > 1 else []
        extra += {"all": [], "ends": ["off the ends"]}[self.support]
        extra += {"random": [], "other": ["from another class"], "last": ["from the last"]}[self.start]
        return ", ".join([f"{self.gradient}/{self.aim}", *extra])

    def run(self, view: View, standing: Standing, budget: Budget, best: Best, *, steps: int) -> None:
        """Search for some of the inputs, as `Search.run` does; `standing.candidate` is the last point of another search."""
        forward = view.forward if self.gradient == "own" else view.gradients[self.gradient]
        assert forward is not None, "needs = gradient"
        number = steps if self.samples == 1 else max(2, steps // 3, 2 * steps // self.samples)
        x, mine = standing.feasible.x, standing.draws
        direction, labels = AIMS[self.aim](view, x, standing.y, mine)
        feasible: Feasible = ball(x, budget)
        feasible = Confined(feasible, (x > ENDS) & (x < 1 - ENDS)) if self.support == "ends" else feasible
        begin = replace(standing, labels=labels, feasible=feasible, candidate=self._begin(view, standing, feasible))
        rule = AdaptiveAscent(number)
        Search(view, expectation(forward, self.samples), direction, rule, number).run(begin, best)

    def _begin(self, view: View, standing: Standing, feasible: Feasible) -> Tensor:
        if self.start == "last":
            return feasible.project(standing.candidate.clone())
        if self.start == "other" and view.clean is not None and len(view.clean):
            return feasible.project(another_class(view, standing.feasible.x, standing.y)[0].clone())
        return feasible.start(standing.draws.stream("start"))


@dataclass(frozen=True)
class Confined(Narrowed):
    """A feasible set of which only the points count that leave the pixels outside `mask` (B, *S) alone."""

    mask: Tensor

    def project(self, candidate: Tensor) -> Tensor:
        return self.inner.project(torch.where(self.mask, candidate, self.x))

    def direction(self, gradient: Tensor) -> Tensor:
        return self.inner.direction(gradient * self.mask)

    def __getitem__(self, rows: Tensor) -> Confined:
        return Confined(self.inner[rows], self.mask[rows])


def another_class(view: View, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """For each input the nearest clean input of another class that the attacker holds: inputs (B, *S), their places."""
    assert view.clean is not None
    distance = torch.cdist(x.flatten(1), view.clean.x.flatten(1))
    distance = distance.masked_fill(y[:, None] == view.clean.y[None], torch.inf)
    place = distance.argmin(1)
    return view.clean.x[place], place


def _clean_draws(view: View, place: Tensor) -> Draws:
    assert view.clean is not None
    return view.clean.draws[place].stream("guide")


def _match_logits(view: View, x: Tensor, y: Tensor, draws: Draws) -> Aim:
    guide, place = another_class(view, x, y)
    assert view.forward is not None
    with torch.no_grad():
        goal = view.forward(guide, _clean_draws(view, place)).logits
    return matching(1.0), goal


def _match_features(view: View, x: Tensor, y: Tensor, draws: Draws) -> Aim:
    guide, place = another_class(view, x, y)
    assert view.features is not None
    with torch.no_grad():
        goal = view.features(guide, _clean_draws(view, place))
    return feature_matching(view.features, draws, 1.0), goal


def _target(place: int) -> Callable[[View, Tensor, Tensor, Draws], Aim]:
    def aim(view: View, x: Tensor, y: Tensor, draws: Draws) -> Aim:
        assert view.forward is not None
        with torch.no_grad():
            likely = most_likely_wrong(view.forward(x, draws).logits, y, place)
        return joint(targeted_margin, 1.0), torch.stack([y, likely[-1]], 1)

    return aim


def _plain(direction: Callable[[], Direction]) -> Callable[[View, Tensor, Tensor, Draws], Aim]:
    return lambda view, x, y, draws: (direction(), y)


def _objective(view: View, x: Tensor, y: Tensor, draws: Draws) -> Aim:
    return with_objective(class_margin, _offered(view, "objective")[0], 0.5), y


def _latent(view: View, x: Tensor, y: Tensor, draws: Draws) -> Aim:
    return through_decoder(class_margin, _offered(view, "encode")[0], _offered(view, "decode")[0]), y


def _offered(view: View, name: str) -> list[Callable[[Tensor], Tensor]]:
    """What purifiers offer under a name, in order."""
    parts = (part.call for part in view.parts or () if part.role == "purifier")
    return [getattr(call, name) for call in parts if hasattr(call, name)]


AIMS: dict[str, Callable[[View, Tensor, Tensor, Draws], Aim]] = {
    "margin": _plain(lambda: joint(class_margin, 1.0)),
    "cross-entropy": _plain(lambda: joint(rescaled_cross_entropy, 1.0)),
    "joint 0.2": _plain(lambda: joint(class_margin, 0.2)),
    "joint 1": _plain(lambda: joint(class_margin, 1.0)),
    "joint 5": _plain(lambda: joint(class_margin, 5.0)),
    "target 1": _target(1),
    "target 2": _target(2),
    "target 3": _target(3),
    "selective": _plain(lambda: selective(class_margin)),
    "orthogonal, sparing the score": _plain(lambda: orthogonal(class_margin, spare="score")),
    "orthogonal, sparing the label": _plain(lambda: orthogonal(class_margin, spare="label")),
    "matching logits": _match_logits,
    "matching features": _match_features,
    "score only": _plain(score_only),
    "purifier's objective": _objective,
    "latent": _latent,
}


def menu(view: View) -> list[Entry]:
    """The entries that say something about a system, the most promising first, at most MOST."""
    named = view.evidence.get("estimators", ("own",))
    gradients = [name for name in named if name == "own" or name in view.gradients] or ["own"]
    rejects = any(part.role == "detector" for part in view.parts or ())
    listed = list(_against_detectors(view, gradients) if rejects else _against_classifiers(view, gradients))
    if view.random:
        listed = [replace(entry, samples=number) for entry in listed[:8] for number in (5, 20)]
    return list(dict.fromkeys(listed))[:MOST]


def _against_classifiers(view: View, gradients: list[str]) -> Iterator[Entry]:
    first = gradients[0]
    for gradient in gradients:
        yield Entry(gradient, "margin")
        yield Entry(gradient, "cross-entropy")
    yield from _for_purifiers(view, first)
    for number in (1, 2, 3):
        yield Entry(first, f"target {number}")
    yield from _with_clean_inputs(view, first, "margin")
    yield Entry(first, "margin", support="ends")
    for gradient in gradients[1:]:
        yield Entry(gradient, "target 1")


def _against_detectors(view: View, gradients: list[str]) -> Iterator[Entry]:
    first = gradients[0]
    for gradient in gradients:
        yield Entry(gradient, "joint 1")
    for aim in ("joint 0.2", "joint 5", "selective", "orthogonal, sparing the score", "orthogonal, sparing the label"):
        yield Entry(first, aim)
    yield from _for_purifiers(view, first)
    yield Entry(first, "cross-entropy")
    yield Entry(first, "target 1")
    yield from _with_clean_inputs(view, first, "joint 1")
    yield Entry(first, "score only", start="last")
    yield Entry(first, "joint 1", support="ends")
    for gradient in gradients[1:]:
        yield Entry(gradient, "selective")
        yield Entry(gradient, "joint 5")


def _with_clean_inputs(view: View, gradient: str, aim: str) -> Iterator[Entry]:
    if view.clean is None or not bool((view.clean.y != view.clean.y[0]).any()):
        return
    yield Entry(gradient, "matching logits")
    if view.features is not None and not view.random:
        yield Entry(gradient, "matching features")
    yield Entry(gradient, aim, start="other")


def _for_purifiers(view: View, gradient: str) -> Iterator[Entry]:
    if _offered(view, "objective"):
        yield Entry(gradient, "purifier's objective")
    if _offered(view, "encode") and _offered(view, "decode"):
        yield Entry(gradient, "latent")
