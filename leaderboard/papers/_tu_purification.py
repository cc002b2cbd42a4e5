"""Purification by the evidence bound under patches: attackers that know nothing of it, and all that do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.gradients import Count
from harness.progress import steps
from harness.rank import wilson
from harness.system import Judge, System
from harness.types import Attack, Budget, Draws, Loaded, Outputs, Split
from harness.views import through, view

Row = dict[str, Any]
Forward = Callable[[Tensor, Draws], Outputs]

_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class Patch:
    """Attacks on the images of a split inside a patch, whose longer side is `side`."""

    data: Split
    side: int

    def attacked(self, system: System, forward: Forward, attack: Attack, stream: str) -> Tensor:
        """Images by an attacker who differentiates `forward`, the best by its own loss: (N, C, H, W)."""
        found = []
        for rows in torch.split(torch.arange(len(self.data)), _TOGETHER):
            part = self.data[rows]
            verdict = Judge(system, "patch", part.levels)
            seen = view(verdict, num_classes=part.num_classes, early_exit=False, count=Count())
            draws, budget = part.draws.stream(stream), Budget("patch", float(self.side))
            found.append(attack.perturb(replace(seen, forward=forward), part.x, part.y, budget, draws).detach())
        return torch.cat(found)

    def right(self, system: System, x: Tensor, stream: str) -> Tensor:
        """Whether each image is classified right, with draws that no attacker has seen: (N,) bool."""
        draws, found = self.data.draws.stream(stream), []
        for rows in torch.split(torch.arange(len(x)), _TOGETHER):
            found.append(system.judge(x[rows], draws[rows])[0])
        return torch.cat(found) == self.data.y


def attackers(bare: System, purified: System, levels: tuple[float, float]) -> dict[str, Forward]:
    """What attackers differentiate: the classifier alone, then ways through the purification.

    surrogate: a few smooth steps, differentiated exactly. identity: the purified input's gradient, as if nothing were
    changed. bound: the classifier's own, held to where the evidence bound is that of clean images (levels: middle and
    spread of minus the bound on them), which purification leaves nearly alone.
    """
    (purifier,) = purified.parts
    objective: Callable[[Tensor], Tensor] = purifier.call.objective  # type: ignore[attr-defined]

    def held(x: Tensor, draws: Draws) -> Outputs:
        return Outputs(bare(x, draws).logits, (objective(x) - levels[0]) / levels[1])

    return {"oblivious": bare, "surrogate": purified, "identity": through(purified, "identity"), "bound": held}


def table(
    classifier: Any, make: Callable[[int], Any], patch: Patch, attacks: Mapping[str, Attack], numbers: Sequence[int]
) -> Iterator[Row]:
    """Rows of an attack and what the attacker knows: accuracy without purification and after each number of steps.

    The last number is the system that adaptive attackers face. `worst` is right under every attack on it.
    """
    bare = System(classifier)
    systems = {
        number: System(classifier, (Loaded("purifier", "elbo", make(number), random=True),)) for number in numbers
    }
    last = systems[numbers[-1]]
    clean: dict[Any, System] = {"none": bare}
    clean.update(systems)
    x, lost = patch.data.x, torch.zeros(len(patch.data), dtype=torch.bool)
    with torch.no_grad():
        minus = last.parts[0].call.objective(x)  # type: ignore[attr-defined]
    forwards = attackers(bare, last, (float(minus.median()), float(minus.std())))
    yield {"attack": "clean", "knows": ""} | _accuracies(patch, clean, x, lost)
    pairs = [(name, knows) for name in attacks for knows in forwards]
    for name, knows in steps(pairs, "patches against purification"):
        made = patch.attacked(last, forwards[knows], attacks[name], f"{name} {knows}")
        yield {"attack": name, "knows": knows} | _accuracies(patch, clean, made, lost)
    yield {"attack": "worst", "knows": "all"} | {f"after {numbers[-1]}": vars(wilson(float((~lost).sum()), len(lost)))}


def _accuracies(patch: Patch, systems: Mapping[Any, System], x: Tensor, lost: Tensor) -> Row:
    """Accuracy with its interval by number of steps; the inputs that the last system loses are marked in `lost`."""
    found = {number: patch.right(system, x, "judge") for number, system in systems.items()}
    lost |= ~list(found.values())[-1]
    return {f"after {number}": vars(wilson(float(right.sum()), len(right))) for number, right in found.items()}
