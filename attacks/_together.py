"""Several runs of a few inputs in one batch."""

from __future__ import annotations

from harness.types import View

AT_ONCE = 256  # inputs of a batch that joins several runs


def runs_at_once(view: View, inputs: int, runs: int) -> int:
    """How many of the next runs of so many inputs are taken in one batch; one by one where the system draws numbers."""
    return 1 if view.random else max(1, min(AT_ONCE // max(inputs, 1), runs))
