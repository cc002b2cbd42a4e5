"""The search for neighbours that are known to exist: an attack's, and as many random points as it asked questions."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from harness.binarisation import Binarisation, on_boundary
from harness.gradients import Count
from harness.rank import wilson
from harness.rounding import inside, round_inside
from harness.system import ContractError, Judge, System, calibrate, curves_of
from harness.types import Budget, Loaded, Network, Split, Threat
from harness.views import view

PASSED = 0.95  # share of the neighbours
CHANCE = 0.5  # share that random points may find before the test says nothing
_AT_ONCE = 100  # random points of an input in a pass


@dataclass(frozen=True)
class Energy:
    """A detector to be turned round: minus the log of the summed exponentials of the logits (Liu et al. 2020)."""

    network: Network

    def __call__(self, x: Tensor, /) -> Tensor:
        return -self.network(x).logsumexp(1)


def detecting(system: System, clean: Split, *, rate: float) -> System:
    """The system behind a detector, with a threshold at a false-positive rate on clean inputs."""
    energy = Loaded("detector", "energy", Energy(system.classifier))  # type: ignore[arg-type]
    bare = System(system.classifier, (*system.parts, energy))
    with torch.no_grad():
        state = calibrate(bare, bare.scores(clean.x, clean.draws)[1], (rate,))
    return System(bare.classifier, bare.parts, curves_of(state), float(state[f"threshold.{rate:g}"]))


def sought(attack: Any, case: Binarisation, threat: Threat) -> dict[str, Any]:
    """What an attack finds of the neighbours, and what as many random points find; an error is no success."""
    count, start, error = Count(), time.perf_counter(), None
    try:
        found = int(_attacked(attack, case, threat, count).sum())
    except Exception as problem:
        found, error = 0, f"{type(problem).__name__}: {problem}"
    number = max(1, len(case.data))
    seconds, queries = time.perf_counter() - start, max(1, round(count.forwards / number))
    random = int(_random(case, threat, queries).sum())
    informative = len(case.data) > 0 and random <= CHANCE * number
    return {
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "inputs": len(case.data),
        "found": found,
        "share": _interval(found, len(case.data)),
        "random": _interval(random, len(case.data)),
        "rejected": case.rejected,
        "queries": queries,
        "forwards": count.forwards / number,
        "backwards": count.backwards / number,
        "seconds": round(seconds, 3),
        "error": error,
        "informative": informative,
        "passed": informative and error is None and found >= PASSED * len(case.data),
    }


def _interval(found: int, number: int) -> dict[str, float] | None:
    return asdict(wilson(found, number)) if number else None


def _attacked(attack: Any, case: Binarisation, threat: Threat, count: Count) -> Tensor:
    """Which inputs the attack breaks, as crafts are judged: on the data's grid, in the ball, by the system's own answer."""
    data, minimal = case.data, bool(attack.minimal)
    judge = Judge(case.system, threat.norm, data.levels)
    sight = view(judge, num_classes=2, early_exit=True, count=count)
    budget = Budget(threat.norm, math.inf if minimal else threat.epsilon)
    draws, told = data.draws.stream("attack"), {}
    if hasattr(attack, "pilot"):
        rows = torch.arange(min(len(data), int(getattr(attack, "trial", 100))), device=data.y.device)
        few = data[rows]
        _, told["pilot"] = attack.pilot(sight, few.x.clone(), few.y.clone(), budget, draws[rows].stream("pilot"))
    given = attack.perturb(sight, data.x.clone(), data.y.clone(), budget, draws, **told)
    if not isinstance(given, Tensor) or given.shape != data.x.shape:
        raise ContractError(f"perturb gives {getattr(given, 'shape', type(given).__name__)}, not {tuple(data.x.shape)}")
    given = given.detach().float()
    left = ~inside(given, data.x, threat.norm, budget.epsilon)
    if left.any():
        raise ContractError(f"{int(left.sum())} of {len(data)} answers leave the {threat.norm} ball or the box")
    x_adv = round_inside(given, data.x, norm=threat.norm, epsilon=budget.epsilon, levels=data.levels)
    near = inside(x_adv, data.x, threat.norm, threat.epsilon)
    return near & judge(x_adv, data.x, data.y, threat.epsilon, draws.stream("found"))


def _random(case: Binarisation, threat: Threat, queries: int) -> Tensor:
    """Which inputs so many random points of the boundary break: (B,) bool."""
    data, judge = case.data, Judge(case.system, threat.norm, case.data.levels)
    found = torch.zeros_like(data.y, dtype=torch.bool)
    for start in range(0, queries, _AT_ONCE):
        rows = (~found).nonzero()[:, 0]
        if not len(rows):
            break
        number = min(_AT_ONCE, queries - start)
        mine = data.draws[rows].stream(f"random {start}")
        points = on_boundary(data.x[rows], threat.norm, threat.epsilon, mine, number)
        copies = torch.arange(len(rows), device=rows.device).repeat_interleave(number)
        centres, labels = data.x[rows[copies]], data.y[rows[copies]]
        fooled = judge(points.flatten(0, 1), centres, labels, threat.epsilon, mine[copies])
        found[rows] = fooled.view(len(rows), number).any(1)
    return found
