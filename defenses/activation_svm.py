"""Detection by a linear classifier of activation patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from defenses._craft import batches, budget_of, crafted
from defenses._units import Units, soft, some
from geometry.representations.hyperplane import separating_hyperplane
from harness.types import Attack, Network, Score, Spec, Split, State


@dataclass(frozen=True)
class ActivationSVM:
    """Tells the activation patterns of attacked inputs from those of clean ones by a linear support vector machine.

    The machine is fitted on the bits of `references` fit inputs, clean and attacked; of all ReLU layers, or of one
    `layer` (from 0 on). The surrogate puts a sigmoid for each bit. Raises ValueError for victims that are not piecewise
    linear (the module named), TypeError for victims that are no torch module. Source: Jamil et al. 2023, "Hamming
    similarity and graph Laplacians for class partitioning and adversarial image detection".
    """

    role: ClassVar[Literal["detector"]] = "detector"
    attack: Spec = Spec.of("attack", "pgd", steps=10)
    norm: Literal["linf", "l2"] = "linf"
    epsilon: float = 0.1
    references: int = 1000
    layer: int | None = None

    def fit(self, data: Split, *, victim: Network, attack: Attack) -> State:
        """The hyperplane: normal (h,), offset (); and the spread (h,) of each unit's input."""
        units, chosen = Units.of(victim, "activation_svm", self.layer), some(data, self.references)
        _, spread = units.surveyed(chosen)
        bits: tuple[list[Tensor], list[Tensor]] = ([], [])
        for batch in batches(chosen):
            adversarial = crafted(attack, victim, batch, budget_of(attack, self.norm, self.epsilon), "victim")
            bits[0].append(units.bits(batch.x).float())
            bits[1].append(units.bits(adversarial).float())
        plane = separating_hyperplane(torch.cat(bits[0]), torch.cat(bits[1]))
        return {"normal": plane.normal.float(), "offset": plane.offset.float(), "spread": spread}

    def load(self, state: State, *, victim: Network, attack: Attack) -> Score:
        """Decision value of the bits, (B, *S) -> (B,)."""
        units = Units.of(victim, "activation_svm", self.layer)
        return _Decision(units, state["normal"], state["offset"], state["spread"])


@dataclass(frozen=True, eq=False)
class _Decision:
    """A linear function of bits."""

    units: Units
    normal: Tensor
    offset: Tensor
    spread: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._value(self.units.bits(x).to(x))

    def surrogate(self, x: Tensor, /) -> Tensor:
        """The same of soft bits."""
        return self._value(soft(self.units.inputs(x), self.spread))

    def _value(self, bits: Tensor) -> Tensor:
        return bits @ self.normal.to(bits) + self.offset.to(bits)
