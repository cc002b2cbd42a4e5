"""Progress on standard error, with an estimate of the time left; silent unless the command line switches it on.

In a terminal these are bars; in a file or a pipe, a line every minute.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
EVERY = 60.0  # seconds between two lines where there is no terminal
_shown: list[Progress] = []


@contextmanager
def shown() -> Iterator[Progress]:
    """Show progress bars on standard error while the block runs."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        _shown.append(progress)
        over = threading.Event()
        if not console.is_terminal:
            threading.Thread(target=_tell, args=(progress, over), daemon=True).start()
        try:
            yield progress
        finally:
            over.set()
            _shown.pop()


def _tell(progress: Progress, over: threading.Event) -> None:
    """A line now and then, until it is over."""
    while not over.wait(EVERY):
        for bar in progress.tasks[:1]:
            left = bar.time_remaining
            rest = "" if left is None else f", about {math.ceil(left / 60)} min left"
            total = "" if bar.total is None else f" of {bar.total:.0f}"
            say(f"{bar.description}: {bar.completed:.0f}{total}, {(bar.elapsed or 0) / 60:.0f} min{rest}")


def say(message: str) -> None:
    """Print a line on standard error, above any bars."""
    import sys

    if _shown:
        _shown[-1].console.print(message, highlight=False, markup=False, soft_wrap=True)
    else:
        print(message, file=sys.stderr, flush=True)


def steps(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar while they are consumed: `for epoch in steps(range(10), "training cnn")`."""
    if not _shown:
        yield from items
        return
    progress = _shown[-1]
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    bar = progress.add_task(description, total=total)
    try:
        for item in items:
            yield item
            progress.advance(bar)
    finally:
        progress.remove_task(bar)


class Bar:
    """A bar that is set from outside, for loops that are not an iterator's; nothing where none are shown."""

    def __init__(self, description: str) -> None:
        self._progress = _shown[-1] if _shown else None
        self._description = description
        self._bar = self._progress.add_task(description, total=None) if self._progress else None

    def show(self, done: int, total: int | None, words: str = "") -> None:
        """So much is done of `total`, with words beside the description."""
        if self._progress is not None and self._bar is not None:
            text = f"{self._description}, {words}" if words else self._description
            self._progress.update(self._bar, completed=done, total=total, description=text)

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None and self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None
