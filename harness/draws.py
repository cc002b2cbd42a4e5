"""Random numbers from (key, stream, input index, draw): a counter-based generator, vectorised over inputs.

The numbers are those of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), one
generator for each (key, stream, index, draw), so that batch, shard, device and companions do not matter.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """A 64-bit pattern as the signed integer that torch stores."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of splitmix64."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def seed_of(*names: object) -> int:
    """A signed 64-bit seed from names, by SHA-256 of their text."""
    text = "\x1f".join(str(name) for name in names)
    return _signed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


@dataclass(frozen=True)
class CounterDraws:
    """`Draws` for the inputs `index` (B,) int64 under a key; numbers are made where `index` lives."""

    key: str
    index: Tensor

    def _bits(self, shape: tuple[int, ...], draw: int) -> Tensor:
        """53 random bits for each input and element: (B, *shape) int64."""
        start = _mix(self.index * _GOLDEN + seed_of(self.key, draw))
        counter = torch.arange(1, math.prod(shape) + 1, device=self.index.device) * _GOLDEN
        return _shift(_mix(start[:, None] + counter), 11).reshape(-1, *shape)

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        """Uniform numbers in [0, 1): (B, *shape) float32."""
        return _shift(self._bits(shape, draw), 29).float() * 2.0**-24

    def normal(self, *shape: int, draw: int = 0) -> Tensor:
        """Standard normal numbers by the inverse distribution function: (B, *shape) float32."""
        uniform = (self._bits(shape, draw).double() + 0.5) * 2.0**-53
        return (torch.erfinv(2.0 * uniform - 1.0) * math.sqrt(2.0)).float()

    def integers(self, high: int, *shape: int, draw: int = 0) -> Tensor:
        """Integers in 0 .. high - 1: (B, *shape) int64."""
        return (self._bits(shape, draw).double() * 2.0**-53 * high).long().clamp_(max=high - 1)

    def stream(self, name: str | int) -> CounterDraws:
        """Independent numbers for the same inputs, under a name."""
        return CounterDraws(f"{self.key}/{name}", self.index)

    def __getitem__(self, rows: Tensor) -> CounterDraws:
        return CounterDraws(self.key, self.index[rows])
