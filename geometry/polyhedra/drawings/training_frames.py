"""A training as an animation: one frame for each state of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.figure import Figure
from torch import nn

Draw = Callable[[Figure, nn.Module], None]


def training_frames(
    path: Path, networks: Sequence[nn.Module], draw: Draw, *, size: float = 4.0, per_second: int = 5
) -> None:
    """Write a GIF in which `draw` has drawn every network onto an empty figure of `size` inches.

    networks: copies made while training (`copy.deepcopy`). Raises ValueError if there are none.
    """
    if not networks:
        raise ValueError("no networks: keep copies of the network while it trains")
    figure = Figure(figsize=(size, size), layout="constrained")

    def frame(number: int) -> list[object]:
        figure.clear()
        draw(figure, networks[number])
        return []

    animation = FuncAnimation(figure, frame, frames=len(networks), init_func=list)  # type: ignore[arg-type]
    animation.save(path, writer=PillowWriter(fps=per_second), dpi=100)
