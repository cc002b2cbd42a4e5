"""The ReLU units of a victim: their inputs, their bits, and bits that have a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from defenses._craft import batches
from geometry.polyhedra._network import symbols
from geometry.polyhedra.activation_pattern import pack, unpack
from harness.types import Split

RELUS = ("relu", "leaky_relu")
STEEPNESS = 4.0  # of a soft bit, at 0, relative to how far the unit's inputs spread


@dataclass(frozen=True, eq=False)
class Units:
    """The units of all ReLU layers of a network, or of one of them, counted from 0 in the order in which they run."""

    network: nn.Module
    layer: int | None = None

    @classmethod
    def of(cls, victim: object, part: str, layer: int | None = None) -> Units:
        """The victim's units; raises TypeError for one that is no module: its operations cannot be read by name."""
        if not isinstance(victim, nn.Module):
            raise TypeError(f"{part} reads the ReLUs of a torch.nn.Module, and the victim is a {type(victim).__name__}")
        return cls(victim, layer)

    def inputs(self, x: Tensor) -> Tensor:
        """What each unit is given, z of ReLU(z): (B, *S) -> (B, h), differentiable; raises ValueError for an unknown layer."""
        found = [one.values.flatten(1) for one in symbols(self.network, x)[0] if one.function in RELUS]
        if not found:
            raise ValueError("the victim has no ReLU, so there is no activation pattern; choose another victim")
        if self.layer is None:
            return torch.cat(found, 1)
        if not 0 <= self.layer < len(found):
            raise ValueError(f"layer is {self.layer}, but the victim has {len(found)} ReLU layers, from 0 on")
        return found[self.layer]

    @torch.no_grad()
    def bits(self, x: Tensor) -> Tensor:
        """1 where z > 0: (B, *S) -> (B, h) booleans."""
        return self.inputs(x.detach()) > 0

    @torch.no_grad()
    def surveyed(self, data: Split) -> tuple[Tensor, Tensor]:
        """Packed bits (N, ceil(h / 8)) of the inputs, and how far each unit's input spreads over them (h,)."""
        packed, squares = [], torch.zeros(())
        for batch in batches(data):
            z = self.inputs(batch.x)
            packed.append(pack(z > 0))
            squares = squares.to(z.device, torch.float64) + z.double().square().sum(0)
        spread = (squares / len(data)).sqrt()
        return torch.cat(packed), spread.clamp_min(1e-3 * float(spread.mean())).clamp_min(1e-12).float()


def soft(z: Tensor, spread: Tensor) -> Tensor:
    """Bits with a gradient: (B, h), (h,) -> (B, h) in (0, 1)."""
    return torch.sigmoid(STEEPNESS * z / spread.to(z))


def differing(soft_bits: Tensor, packed: Tensor) -> Tensor:
    """In how many units soft bits (B, h) differ from packed patterns (B, k, ceil(h / 8)): (B, k), differentiable."""
    given = torch.stack([_signs(patterns, soft_bits) for patterns in packed])
    middle = soft_bits - 0.5
    return 0.5 * soft_bits.shape[1] - (given @ middle[..., None])[..., 0]


def _signs(packed: Tensor, like: Tensor) -> Tensor:
    return unpack(packed, like.shape[1]).to(like) * 2 - 1


def some(data: Split, number: int) -> Split:
    """At most `number` of the inputs, at random."""
    return data[torch.randperm(len(data))[:number].to(data.y.device)]
