"""Liu Z. et al. 2024, Tables 2 to 4 and Figure 9: how masks, distances, noise, attempts and steps change Lift-Map-Detect."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from harness.data import Data
from harness.foreign import Scores, separation
from harness.progress import steps as shown
from harness.spec import build
from harness.types import Network, Spec, Split

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Distance = Callable[[Tensor, Tensor], Tensor]

TOGETHER = 512  # inputs times attempts in one pass


def lift(**params: Any) -> Spec:
    """Lift-Map-Detect with a model that the study gives."""
    return Spec.of("defense", "lift_map_detect", **{"steps": 10, **params})


LIFTS = (  # of Tables 2 and 4
    ("checkerboard, squares of 4", lift(side=4)),
    ("checkerboard, squares of 7", lift(side=7)),
    ("checkerboard, squares of 2", lift(side=2)),
    ("fixed checkerboard, squares of 4", lift(mask="fixed")),
    ("centre", lift(mask="centre")),
    ("random squares of 4", lift(mask="patches")),
    ("noise of time 0.25", lift(noise=0.25)),
    ("noise of time 0.5", lift(noise=0.5)),
    ("noise of time 0.75", lift(noise=0.75)),
    ("checkerboard, squares of 4, resampled 4 times (RePaint)", lift(rounds=4, attempts=4)),
)


@dataclass(frozen=True)
class LiuZLifts:
    """Areas under the ROC curve of Lift-Map-Detect for several lifts and distances on the same images.

    lifts: names and Lift-Map-Detects, of which all but the distance counts; what each makes of the images is measured
    by every distance. The first is also scored with fewer attempts. inputs: test images of each data set, the first
    ones.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    foreign: tuple[Spec, ...] = (Spec.of("dataset", "mnist"), Spec.of("dataset", "kmnist"))
    victim: Spec = Spec.of("victim", "cnn", epochs=4)
    model: Spec = Spec.of("manifold", "diffusion", weights="fashion_mnist")
    lifts: tuple[tuple[str, Spec], ...] = ()
    inputs: int = 100

    def run(self, *, dataset: Data, foreign: list[Data], victim: Network, model: Any) -> Tables:
        """`areas`: rows of lift, distance, attempts and foreign set; `scores`: those of every image, for comparisons."""
        sets = {data.spec.name: first(data, self.inputs) for data in (dataset, *foreign)}
        measures, areas, scores = distances(victim), list[Row](), list[Row]()
        for place, (name, spec) in enumerate(shown(self.lifts, "lifts")):
            part = build(spec)
            loaded, start = part.load({}, victim=victim, model=model), time.process_time()
            found = {home: measured(loaded, data, measures) for home, data in sets.items()}
            seconds = (time.process_time() - start) / sum(len(data) for data in sets.values())
            of = {"home": self.dataset.name, "lift": name, "steps": part.steps, "seconds": seconds}
            for distance in measures:
                values = {home: rows[distance] for home, rows in found.items()}
                numbers = range(1, part.attempts + 1) if place == 0 else (part.attempts,)
                for number in numbers:
                    evaluations = number * part.steps * part.rounds
                    row = of | {"distance": distance, "attempts": number, "evaluations": evaluations}
                    areas += [row | area for area in _areas(values, number, self.dataset.name)]
                scores.append(of | {"distance": distance} | {k: v.quantile(0.5, 0).tolist() for k, v in values.items()})
        return {"areas": areas, "scores": scores}


def first(data: Data, number: int) -> Split:
    """The first test images of a data set."""
    test = data.split("test")
    return test[torch.arange(min(number, len(test)))]


def distances(victim: Network) -> dict[str, Distance]:
    """Squared error, structural similarity, and the LPIPS formula on a classifier of the images at home, trained and not."""
    trunk = cast("nn.Module", victim)
    random = copy.deepcopy(trunk)
    for module in random.modules():
        if callable(getattr(module, "reset_parameters", None)):
            cast(Any, module).reset_parameters()
    names = {"mse": "mse", "ssim": "ssim", "LPIPS on our cnn": "features", "LPIPS on a random cnn": "features"}
    found: dict[str, Distance] = {}
    for name, distance in names.items():
        network = random if "random" in name else trunk
        found[name] = build(lift(distance=distance)).load({}, victim=network, model=_Nothing()).distance
    return found


class _Nothing:
    """A model that no distance asks."""

    def noise(self, x: Tensor, kept: float, /) -> Tensor:
        raise NotImplementedError


@torch.no_grad()
def measured(loaded: Any, data: Split, measures: Mapping[str, Distance]) -> dict[str, Tensor]:
    """What every distance says of every attempt: (attempts, N) each."""
    attempts, found = loaded.part.attempts, {name: list[Tensor]() for name in measures}
    for rows in torch.split(torch.arange(len(data)), max(1, TOGETHER // attempts)):
        x = data.x[rows]
        made = loaded.filled(x, data.draws[rows].stream("lift"), range(attempts), loaded.part.steps)
        for name, distance in measures.items():
            found[name].append(distance(x.repeat(attempts, 1, 1, 1), made).view(attempts, len(x)))
    return {name: torch.cat(parts, 1) for name, parts in found.items()}


def _areas(values: Mapping[str, Tensor], attempts: int, home: str) -> Iterator[Row]:
    """The area under the curve for each foreign set with its interval."""
    medians = {name: rows[:attempts].quantile(0.5, 0).numpy() for name, rows in values.items()}
    for name, scores in medians.items():
        if name != home:
            yield {"foreign": name, "auroc": area(medians[home], scores)}


def area(clean: Any, foreign: Any) -> dict[str, float]:
    """The area under the ROC curve, foreign scores positive, with its bootstrap interval."""
    home, other = (Scores(np.asarray(values, dtype=float), np.arange(len(values))) for values in (clean, foreign))
    return vars(separation(home, other)["auroc"])


def steps(numbers: tuple[int, ...], attempts: int) -> tuple[tuple[str, Spec], ...]:
    """The same lift with so many steps of the sampler."""
    return tuple((f"{number} steps", lift(steps=number, attempts=attempts)) for number in numbers)
