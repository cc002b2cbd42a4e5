"""Complementary attacks one after the other, each on what the ones before it left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attacks._search import Best
from attacks.apgd import APGD
from attacks.fab import FAB
from attacks.square import Square
from harness.types import Attack, Budget, Draws, Needs, View


@dataclass(frozen=True)
class AutoAttack:
    """APGD, targeted APGD, FAB and Square with their published parameters, each on the inputs that still stand.

    standard: APGD on the margin (50 steps, cheap and not in the original) and on cross-entropy (100), then on the
    targeted difference of logits ratio (9 targets), FAB (9 targets) and Square (5,000 queries; not in l1). plus: five
    restarts of APGD, also on the untargeted ratio, and of FAB. rand, for random systems: APGD on cross-entropy and on
    the ratio, gradients the mean of 20 draws. In l1 five restarts and five targets. give_up: an input leaves each run in
    which success is out of reach (attacks/_reach.py), and Square begins where the others ended; else every run takes all
    its steps from its own start. Source: Croce and Hein 2020, section 6; l1: 2021.
    """

    version: Literal["standard", "plus", "rand"] = "standard"
    give_up: bool = True

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """The inputs of the first attack that fooled the system, else the strongest found: (B, *S) -> (B, *S)."""
        best, rows = Best.of(x), torch.arange(len(x), device=x.device)
        for name, attack in self._attacks(budget.norm):
            standing = (~best.broken).nonzero()[:, 0] if view.early_exit else rows
            if not len(standing):
                break
            before = best.broken[standing]
            sight = replace(view, start=best.candidate[standing]) if self._warm(attack) else view
            inputs, mine = (x[standing], y[standing]), draws[standing].stream(name)
            found = _found(attack, sight, best[standing], inputs, budget, mine)
            best.put(standing, found)
            view.note("part", standing[found.broken & ~before], name)
            view = replace(view, start=None)
        view.note("loss", rows, best.strength)
        return best.candidate

    def _warm(self, attack: Attack) -> bool:
        """Whether an attack begins where the others ended."""
        return self.give_up and isinstance(attack, Square)

    def _attacks(self, norm: str) -> Iterator[tuple[str, Attack]]:
        """Attacks by name, in order."""
        if self.version == "rand":
            yield "apgd cross-entropy", APGD(samples=20, give_up=self.give_up)
            yield "apgd ratio", APGD(loss="dlr", samples=20, give_up=self.give_up)
            return
        restarts = 5 if self.version == "plus" or norm == "l1" else 1
        yield "apgd margin", APGD(loss="margin", steps=50, give_up=self.give_up)
        yield "apgd cross-entropy", APGD(restarts=restarts, give_up=self.give_up)
        if self.version == "plus":
            yield "apgd ratio", APGD(loss="dlr", restarts=restarts, give_up=self.give_up)
        yield "apgd targets", APGD(loss="dlr", targets=5 if norm == "l1" else 9, give_up=self.give_up)
        yield "fab", FAB(restarts=5 if self.version == "plus" else 1, give_up=self.give_up)
        if norm != "l1":
            yield "square", Square(give_up=self.give_up)


def _found(attack: Attack, view: View, best: Best, inputs: tuple[Tensor, Tensor], budget: Budget, draws: Draws) -> Best:
    """The best of some inputs after one more attack; what it broke is confirmed by the harness."""
    assert view.forward is not None, "needs = gradient"
    x, y = inputs
    candidate = attack.perturb(replace(view, note=_silent), x, y, budget, draws)
    with torch.no_grad():
        outputs = view.forward(candidate, draws.stream("found"))
    best = best.offered(candidate, outputs, y)
    new = view.fooled(candidate, x, y, budget.epsilon, draws) & ~best.broken
    best.candidate[new] = candidate[new]
    best.broken[new] = True
    return best


def _silent(name: str, rows: Tensor, values: Tensor | str) -> None:
    """What the single attacks would record of their own rows."""
