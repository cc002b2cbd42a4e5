"""How many draws a gradient is the mean of."""

from __future__ import annotations

from harness.types import View

DRAWS = 20  # of a system that draws numbers: the gradient on one of them misleads


def draws_of(view: View, samples: int | None) -> int:
    """The number that was asked for; else 20 for a system that draws numbers, and 1 for others."""
    return samples or (DRAWS if view.random else 1)
