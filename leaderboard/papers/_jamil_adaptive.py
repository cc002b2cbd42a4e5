"""Attacks in the study of Jamil et al.: the one that is studied, and the one that knows the shared detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geometry.representations.linear_map import least_squares_map
from harness.gradients import Count
from harness.progress import steps
from harness.rounding import inside, round_inside
from harness.system import Judge, System, calibrate, curves_of
from harness.types import Attack, Budget, Draws, Loaded, Network, Norm, Outputs, Split
from harness.views import view
from leaderboard.papers._jamil_maps import Embeddings, Row, Subject, Thirds, auroc, detector

RATES = (0.01, 0.05)
ACCEPTED = 0.1  # units below the threshold that are enough
_BATCH = 256
Forward = Callable[[Tensor, Draws], Outputs]


@dataclass(frozen=True)
class Ball:
    """What an attack may change."""

    norm: Norm
    epsilon: float

    def attacked(self, system: Forward, judge: System, data: Split, attack: Attack, stream: str) -> Tensor:
        """Adversarial inputs from all steps, on the grid of the data: (N, *S); `system` is what gives the gradients."""
        epsilon = math.inf if attack.minimal else self.epsilon
        verdict = Judge(judge, self.norm, data.levels)
        seen = view(verdict, num_classes=data.num_classes, early_exit=False, count=Count())
        seen, found = replace(seen, forward=system), []
        for batch in batches(data):
            budget, draws = Budget(self.norm, epsilon), batch.draws.stream(stream)
            candidate = attack.perturb(seen, batch.x, batch.y, budget, draws)
            found.append(round_inside(candidate, batch.x, norm=self.norm, epsilon=epsilon, levels=data.levels))
        return torch.cat(found).detach()


def no_further(system: System) -> Forward:
    """The system with a margin that stays where it is well accepted, so that the search turns to the classes there."""

    def forward(x: Tensor, draws: Draws) -> Outputs:
        outputs = system(x, draws)
        assert outputs.margin is not None, "a system with a detector"
        return Outputs(outputs.logits, outputs.margin.clamp_min(-ACCEPTED))

    return forward


def batches(data: Split) -> Iterator[Split]:
    """The inputs in order, a few hundred at a time."""
    for start in range(0, len(data), _BATCH):
        yield data[torch.arange(start, min(start + _BATCH, len(data)), device=data.y.device)]


def observed(
    name: str, network: Network, data: Split, *, attack: Attack, ball: Ball, shared: Tensor | None = None
) -> Subject:
    """A network attacked, or shown adversarial inputs that it shares with others (N, *S), and its embeddings.

    Raises TypeError for a network without `features` and `head`.
    """
    missing = [method for method in ("features", "head") if not callable(getattr(network, method, None))]
    if missing:
        raise TypeError(f"the study needs networks with features and head; {name} has no {' and no '.join(missing)}")
    bare = System(network)
    attacked = ball.attacked(bare, bare, data, attack, name) if shared is None else shared
    embeddings = Embeddings(_embedded(network, data.x), _embedded(network, attacked))
    return Subject(name, network, attacked, embeddings)


@torch.no_grad()
def _embedded(network: Network, x: Tensor) -> Tensor:
    return torch.cat([network.features(batch).double() for batch in torch.split(x, _BATCH)])


@dataclass(frozen=True, eq=False)
class _Score:
    """The target's detector on a source's mapped embeddings, one linear function of them."""

    network: Network
    normal: Tensor
    offset: Tensor

    @classmethod
    def of(cls, source: Subject, target: Subject, thirds: Thirds) -> _Score:
        rows = source.embeddings[thirds.mapping].both, target.embeddings[thirds.mapping].both
        fitted, plane = least_squares_map(*rows), detector(target.embeddings, thirds)
        return cls(source.network, (fitted.matrix @ plane.normal).float(), plane(fitted.offset).float())

    def __call__(self, x: Tensor, /) -> Tensor:
        return self.network.features(x).float() @ self.normal + self.offset


def under_adaptive_attack(
    subjects: Sequence[Subject], data: Split, thirds: Thirds, *, attack: Attack, ball: Ball, number: int
) -> Iterator[Row]:
    """Every pair's detector attacked on `number` held-out inputs; another half of those sets its threshold."""
    clean, rest = thirds.held_out.tensor_split(2)
    tested = data[rest[:number]]
    for source in steps(subjects, "adaptive attacks"):
        bare = System(source.network)
        strong = ball.attacked(bare, bare, tested, attack, f"bare {source.name}")
        for target in subjects:
            score = _Score.of(source, target, thirds)
            judged = _Judged.of(System(source.network, (Loaded("detector", "linear_map_svm", score),)), data[clean])
            stream, system = f"adaptive {source.name} {target.name}", judged.system
            found = {
                "oblivious": [source.attacked[rest[:number]]],
                "strong_oblivious": [strong],
                "adaptive": [ball.attacked(f, system, tested, attack, stream) for f in (system, no_further(system))],
            }
            yield {"source": source.name, "target": target.name} | judged.row(tested, found, ball)


@dataclass(frozen=True, eq=False)
class _Judged:
    """A system at its 5 % threshold; `stricter` is what its margin rises by at the other rates."""

    system: System
    stricter: dict[float, float]

    @classmethod
    def of(cls, system: System, clean: Split) -> _Judged:
        scores = torch.cat([system.scores(batch.x, batch.draws)[1][0].detach() for batch in batches(clean)])
        state = calibrate(system, [scores], RATES)
        thresholds = {rate: float(state[f"threshold.{rate:g}"]) for rate in RATES}
        deployed = System(system.classifier, system.parts, curves_of(state), thresholds[0.05])
        return cls(deployed, {rate: thresholds[0.05] - value for rate, value in thresholds.items()})

    def row(self, data: Split, attacks: Mapping[str, Sequence[Tensor]], ball: Ball) -> Row:
        """Accuracy and robust accuracy at each rate, and AUROC on misclassified inputs, each with its own clean one."""
        right, margin = self._answers(data.x, data)
        lowest = {name: self._lowest(data, found, ball) for name, found in attacks.items()}
        oblivious = lowest["oblivious"].minimum(lowest["strong_oblivious"])
        adaptive = oblivious.minimum(lowest["adaptive"])
        row: Row = {
            "inputs": len(data),
            "undefended_accuracy": _mean(right),
            "undefended_robust_accuracy": _mean(right & oblivious.isinf()),
        }
        for rate, change in self.stricter.items():
            kept, name = right & (margin + change <= 0), f"at_{round(100 * rate)}"
            row[f"accuracy_{name}"] = _mean(kept)
            row[f"robust_oblivious_{name}"] = _mean(kept & (oblivious + change > 0))
            row[f"robust_adaptive_{name}"] = _mean(kept & (adaptive + change > 0))
        for name, scores in lowest.items():
            wrong = scores.isfinite()
            row[f"misclassified_{name}"] = int(wrong.sum())
            row[f"auroc_{name}"] = auroc(margin[wrong], scores[wrong]) if bool(wrong.any()) else None
        return row

    def _lowest(self, data: Split, found: Sequence[Tensor], ball: Ball) -> Tensor:
        """The lowest margin of each input among adversarial ones in the ball that are misclassified; else infinite."""
        margins = []
        for x in found:
            right, margin = self._answers(x, data)
            counted = ~right & inside(x, data.x, ball.norm, ball.epsilon)
            margins.append(torch.where(counted, margin, torch.inf))
        return torch.stack(margins).amin(0)

    def _answers(self, x: Tensor, data: Split) -> tuple[Tensor, Tensor]:
        """Whether each input is classified as labelled, and its margin."""
        label, margin = self.system.judge(x, data.draws)
        return label == data.y, margin


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
