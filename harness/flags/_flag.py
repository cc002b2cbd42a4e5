"""What a flag is, and the names of those that have cells of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SINGLE, BLACK = "single-step-beats-iterative", "black-box-beats-white-box"
MONOTONE, RANGE, CONVERGED = "not-monotone-in-epsilon", "survives-full-range", "not-converged"
TWINS, NOISE = "twins", "rejects-noise"
SHOWN = 50  # inputs that evidence names


@dataclass(frozen=True)
class Flag:
    """A rule with what it found. severity: "warning" speaks against the number, "info" only describes the system."""

    name: str
    fired: bool | None
    text: str
    value: float | None
    evidence: Mapping[str, Any]
    severity: str = "warning"


def open_question(name: str, why: str, evidence: Mapping[str, Any] | None = None) -> Flag:
    """A flag that could not be evaluated."""
    return Flag(name, None, f"not evaluated: {why}", None, evidence or {})


def listed(inputs: Iterable[int]) -> list[int]:
    """Inputs as evidence names them."""
    return sorted(int(i) for i in inputs)[:SHOWN]


def enough(count: int, number: int, share: float) -> bool:
    """Whether a count is large enough to speak: a share of the number, and at least two."""
    return count >= max(2.0, share * number - 1e-9)
