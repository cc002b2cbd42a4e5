"""Attacks in the study of Jamil et al.: the one that is studied, and the one that knows the shared detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.representations.linear_map import least_squares_map
from harness.gradients import Count
from harness.progress import steps
from harness.rounding import inside, round_inside
from harness.system import Judge, System, calibrate, curves_of, view
from harness.types import Attack, Budget, Loaded, Network, Norm, Split
from leaderboard.papers._jamil_maps import Embeddings, Row, Subject, Thirds, auroc, detector

RATES = (0.01, 0.05)
_BATCH = 256


@dataclass(frozen=True)
class Ball:
    """What an attack may change."""

    norm: Norm
    epsilon: float

    def attacked(self, system: System, data: Split, attack: Attack, stream: str) -> Tensor:
        """Adversarial inputs from all steps, on the grid of the data: (N, *S)."""
        epsilon = math.inf if attack.minimal else self.epsilon
        seen = view(
            Judge(system, self.norm, data.levels), num_classes=data.num_classes, early_exit=False, count=Count()
        )
        found = []
        for batch in batches(data):
            budget, draws = Budget(self.norm, epsilon), batch.draws.stream(stream)
            candidate = attack.perturb(seen, batch.x, batch.y, budget, draws)
            found.append(round_inside(candidate, batch.x, norm=self.norm, epsilon=epsilon, levels=data.levels))
        return torch.cat(found).detach()


def batches(data: Split) -> Iterator[Split]:
    """The inputs in order, a few hundred at a time."""
    for start in range(0, len(data), _BATCH):
        yield data[torch.arange(start, min(start + _BATCH, len(data)), device=data.y.device)]


def observed(name: str, network: Network, data: Split, *, attack: Attack, ball: Ball) -> Subject:
    """A network attacked, and its embeddings; raises TypeError for one without `features` and `head`."""
    missing = [method for method in ("features", "head") if not callable(getattr(network, method, None))]
    if missing:
        raise TypeError(f"the study needs networks with features and head; {name} has no {' and no '.join(missing)}")
    attacked = ball.attacked(System(network), data, attack, name)
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
    def of(cls, source: Subject, target: Subject, thirds: Thirds, ridge: float) -> _Score:
        rows = source.embeddings[thirds.mapping].both, target.embeddings[thirds.mapping].both
        fitted, plane = least_squares_map(*rows, ridge=ridge), detector(target.embeddings, thirds)
        return cls(source.network, (fitted.matrix @ plane.normal).float(), plane(fitted.offset).float())

    def __call__(self, x: Tensor, /) -> Tensor:
        return self.network.features(x).float() @ self.normal + self.offset


def under_adaptive_attack(
    subjects: Sequence[Subject], data: Split, thirds: Thirds, *, attack: Attack, ball: Ball, number: int, ridge: float
) -> Iterator[Row]:
    """Every pair's detector attacked on `number` held-out inputs; another half of those sets its threshold."""
    clean, rest = thirds.held_out.tensor_split(2)
    rest = rest[:number]
    for source in steps(subjects, "adaptive attacks"):
        bare = ball.attacked(System(source.network), data[rest], attack, f"bare {source.name}")
        oblivious = [source.attacked[rest], bare]
        for target in subjects:
            system = System(
                source.network, (Loaded("detector", "linear_map_svm", _Score.of(source, target, thirds, ridge)),)
            )
            judged = _Judged.of(system, data[clean])
            joint = ball.attacked(judged.system, data[rest], attack, f"adaptive {source.name} {target.name}")
            yield {"source": source.name, "target": target.name} | judged.row(data[rest], oblivious, joint, ball)


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

    def row(self, data: Split, oblivious: Sequence[Tensor], joint: Tensor, ball: Ball) -> Row:
        """Accuracy and robust accuracy at each rate, and AUROC on misclassified inputs, each with its own clean one."""
        right, margin = self._answers(data.x, data)
        row: Row = {"inputs": len(data), "undefended_accuracy": _mean(right)}
        attacks = [(x, *self._answers(x, data)) for x in (*oblivious, joint)]
        wrong = [~found & inside(x, data.x, ball.norm, ball.epsilon) for x, found, _ in attacks]
        row["undefended_robust_accuracy"] = _mean(right & ~wrong[0] & ~wrong[1])
        for rate, change in self.stricter.items():
            kept = right & (margin + change <= 0)
            lost = [w & (m + change <= 0) for w, (_, _, m) in zip(wrong, attacks, strict=True)]
            name = f"at_{rate:.0%}".rstrip("%")
            row[f"accuracy_{name}"] = _mean(kept)
            row[f"robust_oblivious_{name}"] = _mean(kept & ~lost[0] & ~lost[1])
            row[f"robust_adaptive_{name}"] = _mean(kept & ~lost[0] & ~lost[1] & ~lost[2])
        for name, (_, found, scores) in zip(("oblivious", "strong_oblivious", "adaptive"), attacks, strict=True):
            row[f"misclassified_{name}"] = int((~found).sum())
            row[f"auroc_{name}"] = auroc(margin[~found], scores[~found]) if bool((~found).any()) else None
        return row

    def _answers(self, x: Tensor, data: Split) -> tuple[Tensor, Tensor]:
        """Whether each input is classified as labelled, and its margin."""
        label, margin = self.system.judge(x, data.draws)
        return label == data.y, margin


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
