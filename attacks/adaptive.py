"""The attack that finds out by itself how a defense is attacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks._ball import ball, per_input
from attacks._menu import Entry, menu
from attacks._require import at_least_one
from attacks._search import Best, Standing
from harness.types import Budget, Draws, Needs, View


@dataclass(frozen=True)
class Adaptive:
    """The best few of a menu of about 24 attacks, chosen on the first inputs that still stand; the worst per input counts.

    The menu crosses gradients (the defense's own; identity for purifiers; its code made smooth or unrolled; without its
    purifiers; a stand-in regressed on it; estimated), aims (margin, cross-entropy, targets, the joint loss at three weights,
    selective, orthogonal, matching another class, score only, a purifier's objective, its decoder), pixels and starts.
    trial: inputs of the pilot, in which the menu is cut to `first`, then `kept` attacks with `steps` / 4, / 2 and all steps;
    those kept then attack every input. Source: Tramer et al. 2020; Yao et al. 2021; Bryniarski et al. 2021.
    """

    steps: int = 150
    trial: int = 100
    first: int = 8
    kept: int = 3

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    needs: ClassVar[Needs] = "gradient"
    minimal: ClassVar[bool] = False
    knowledge: ClassVar[tuple[str, ...]] = ("adaptive",)
    uses: ClassVar[tuple[str, ...]] = ("gradients", "clean")

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "trial", "first", "kept")

    def perturb(
        self,
        view: View,
        x: Tensor,
        y: Tensor,
        budget: Budget,
        draws: Draws,
        *,
        pilot: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """The inputs of the first attack that fooled the system, else the strongest found: (B, *S) -> (B, *S)."""
        entries = {entry.name: entry for entry in menu(view)}
        names = pilot["kept"] if pilot else list(entries)[: self.kept]
        best, rows = Best.of(x), torch.arange(len(x), device=x.device)
        feasible = ball(x, budget)
        for name in names:
            everybody = Standing(rows, y, y, feasible, draws.stream(name), best.candidate, best)
            standing = everybody[(~best.broken).nonzero()[:, 0]]
            if not len(standing.rows):
                break
            entries[name].run(view, standing, budget, best, steps=self.steps)
            fallen = standing.rows[best.broken[standing.rows]]
            view.note("part", fallen, name)
        return best.candidate

    def pilot(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> tuple[Tensor, Mapping[str, Any]]:
        """What the whole menu finds on a few inputs, and which attacks are kept: (B, *S), a record."""
        entries, found = menu(view), _Found.of(x, y)
        rounds = ((self.steps // 4, self.first), (self.steps // 2, self.kept), (self.steps, self.kept))
        for steps, number in rounds:
            rows = (~found.broken).nonzero()[:, 0]
            if not len(rows):
                break
            for entry in entries:
                mine = draws[rows].stream(f"{entry.name} {steps}")
                begin = Standing(
                    rows, y[rows], y[rows], ball(x[rows], budget), mine, found.furthest[rows], Best.of(x[rows])
                )
                found.put(entry, self._tried(entry, view, begin, budget, max(2, steps)), rows)
            entries = found.chosen(entries, number)
        entries = found.chosen(entries, self.kept) if found.fell else entries[: self.kept]
        return found.best.candidate, {
            "kept": [entry.name for entry in entries],
            "fell": {name: int(fell.sum()) for name, fell in found.fell.items()},
            "inputs": len(x),
            "standing": int((~found.broken).sum()),
        }

    def _tried(self, entry: Entry, view: View, begin: Standing, budget: Budget, steps: int) -> Best:
        """One attack of the menu on the inputs that nobody has broken."""
        here = torch.arange(len(begin.rows), device=begin.y.device)
        best = begin.best
        entry.run(replace(view, note=_silent), replace(begin, rows=here)[here], budget, best, steps=steps)
        return best


def _silent(name: str, rows: Tensor, values: Tensor | str) -> None:
    """Nothing of a pilot's searches is recorded input by input."""


@dataclass
class _Found:
    """What each attack of the menu broke and how far it came on the others; `furthest` (B, *S) is the strongest point yet."""

    best: Best
    furthest: Tensor
    fell: dict[str, Tensor]
    strength: dict[str, Tensor]

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Found:
        return cls(Best.of(x), x.clone(), {}, {})

    @property
    def broken(self) -> Tensor:
        return self.best.broken

    def put(self, entry: Entry, found: Best, rows: Tensor) -> None:
        """Note what an attack came to on some of the inputs; its adversarial ones are kept."""
        fell = self.fell.setdefault(entry.name, torch.zeros_like(self.best.broken))
        fell[rows] |= found.broken
        reached = torch.where(found.wrong, 1e3 + found.strength, found.strength).masked_fill(found.broken, torch.inf)
        strength = self.strength.setdefault(entry.name, torch.full_like(self.best.strength, -torch.inf))
        strength[rows] = torch.maximum(strength[rows], reached.to(strength))
        further = rows[reached > self.best.strength[rows]]
        self.furthest[rows] = torch.where(
            per_input(reached > self.best.strength[rows], found.candidate), found.candidate, self.furthest[rows]
        )
        self.best.strength[further] = strength[further]
        new = found.broken & ~self.best.broken[rows]
        self.best.candidate[rows[new]] = found.candidate[new]
        self.best.broken[rows[new]] = True

    def chosen(self, entries: Sequence[Entry], number: int) -> list[Entry]:
        """Those that together break most inputs, then those that came furthest on average, by rank."""
        left, chosen = list(entries), list[Entry]()
        covered = torch.zeros_like(self.best.broken)
        ranks = torch.stack([self.strength[e.name] for e in left]).argsort(0).argsort(0).float().mean(1)
        order = {entry.name: float(rank) for entry, rank in zip(left, ranks, strict=True)}
        while left and len(chosen) < number:
            best = max(left, key=lambda e: (int((self.fell[e.name] & ~covered).sum()), order[e.name]))
            covered |= self.fell[best.name]
            chosen.append(best)
            left.remove(best)
        return chosen
