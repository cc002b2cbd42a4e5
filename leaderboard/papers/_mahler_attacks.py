"""The table that Mahler et al. 2024 lack: how often searches along a manifold and off it succeed, and where they end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.progress import steps
from harness.rank import wilson
from harness.types import LatentManifold, Network
from leaderboard.papers._mahler_circles import far_on_purpose
from leaderboard.papers._mahler_vehicles import Search, Window

Row = dict[str, Any]
CONTROL, EVERY = "projection only", "every view of the window"


@dataclass(frozen=True, eq=False)
class Found:
    """Where a search from one start ended, nan for what it has none of.

    wrong: another class than the vehicle's. alone: the projection of the start has it already, so it does not count.
    off: distances in local scales, to the manifold and to the real image at the labels found. turned: degrees of azimuth
    and of look-down angle from the start. real_wrong: the real image there is misclassified too.
    """

    wrong: bool
    alone: bool
    steps: int
    l2: float
    linf: float
    off_manifold: float
    off_real: float
    turned: tuple[float, float]
    real_wrong: bool

    @property
    def success(self) -> bool:
        return self.wrong and not self.alone


def found(search: Search, network: Network, window: Window, decoder: LatentManifold, *, alone: bool) -> Found:
    """A search judged; alone: whether the projection of the start is misclassified."""
    x, iterates = search.run(network, window, decoder)
    alone = alone and search.manifold == "window"
    return judged(network, window, x, steps=max(len(iterates) - 1, 0), alone=alone)


@torch.no_grad()
def judged(network: Network, window: Window, x: Tensor, *, steps: int, alone: bool) -> Found:
    """What is to be said of an image (1, *S)."""
    labels = window.labels(x)
    real, change = window.real(labels), x - window.x
    turned = (labels[0] - window.start).abs().tolist()
    return Found(
        wrong(network, window, x),
        alone,
        steps,
        float(change.norm()),
        float(change.abs().max()),
        float(window.manifold.distance(x)) / window.scale,
        float((x - real).norm()) / window.scale,
        (turned[0], turned[1]),
        wrong(network, window, real),
    )


@torch.no_grad()
def wrong(network: Network, window: Window, x: Tensor) -> bool:
    """Whether an image (1, *S) is given another class than the vehicle's."""
    return bool(network(x).argmax(1) != window.y)


@dataclass(frozen=True, eq=False)
class Tried:
    """What came of the windows of one extent against one network, by the name of the search; natural: errors at the start."""

    natural: int
    starts: int
    found: Mapping[str, Sequence[Found]]


def tried(
    networks: Mapping[str, Network], windows: Iterator[Window], searches: Sequence[Search], decoder: LatentManifold
) -> dict[str, Tried]:
    """All searches from the start of each window that a network gives its class, by network."""
    results: dict[str, dict[str, list[Found]]] = {name: {} for name in networks}
    natural, starts = dict.fromkeys(networks, 0), 0
    for window in steps(windows, "searches along manifolds"):
        starts += 1
        for name, network in networks.items():
            if wrong(network, window, window.x):
                natural[name] += 1
                continue
            for search, outcome in _from(network, window, searches, decoder):
                results[name].setdefault(search, []).append(outcome)
    return {name: Tried(natural[name], starts, results[name]) for name in networks}


def _from(
    network: Network, window: Window, searches: Sequence[Search], decoder: LatentManifold
) -> Iterator[tuple[str, Found]]:
    with far_on_purpose():
        with torch.no_grad():
            projected = window.manifold.project(window.x).clamp(0, 1)
        alone = wrong(network, window, projected)
        for search in searches:
            yield search.name, found(search, network, window, decoder, alone=alone)
        yield CONTROL, judged(network, window, projected, steps=0, alone=False)
        yield EVERY, _nearest_error(network, window)


@torch.no_grad()
def _nearest_error(network: Network, window: Window) -> Found:
    """The view nearest to the start, in degrees, among those misclassified; the start itself if none is."""
    prediction = torch.cat([network(batch).argmax(1) for batch in torch.split(window.images, 256)])
    bad = (prediction != window.y).nonzero()[:, 0]
    if not len(bad):
        return judged(network, window, window.x, steps=0, alone=False)
    nearest = bad[(window.views[bad] - window.start).norm(dim=1).argmin()]
    return judged(network, window, window.images[nearest][None], steps=0, alone=False)


def rates(extent: str, network: str, result: Tried) -> Iterator[Row]:
    """A row a search: the rate of success with its interval, and medians over the successes."""
    for search, outcomes in result.found.items():
        good = [one for one in outcomes if one.success]
        rate = wilson(len(good), len(outcomes))
        row: Row = {
            "window": extent,
            "network": network,
            "search": search,
            "starts": len(outcomes),
            "successes": len(good),
            "rate": rate.value,
            "low": rate.low,
            "high": rate.high,
            "projection alone": sum(one.alone for one in outcomes),
            "real image too": sum(one.real_wrong for one in good),
        }
        yield row | {
            "steps": _median([one.steps for one in good]),
            "L2": _median([one.l2 for one in good]),
            "Linf": _median([one.linf for one in good]),
            "off manifold": _median([one.off_manifold for one in good]),
            "off real": _median([one.off_real for one in good]),
            "azimuth": _median([one.turned[0] for one in good]),
            "look-down": _median([one.turned[1] for one in good]),
        }


def _median(values: Sequence[float]) -> float | None:
    """None for none, and for a value that is not finite."""
    if not values:
        return None
    middle = float(torch.tensor(values, dtype=torch.float64).quantile(0.5))
    return middle if math.isfinite(middle) else None
