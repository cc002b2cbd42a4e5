"""Whether a system works for its answers: differentiates inside its forward pass, or takes far longer than its classifier."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch
from torch import Tensor

from harness.rewritten import Watch
from harness.system import System
from harness.types import Split

REPEATS, BATCH, SECONDS = 7, 64, 2.0


@torch.no_grad()
def autograd(system: System, data: Split) -> bool:
    """Whether the system differentiates on its way from a few inputs to its answers."""
    few = _few(data)
    watch = Watch()
    with ExitStack() as elsewhere, watch:
        for function in _remote(system):
            elsewhere.enter_context(function.watched(watch))
        system(few.x, few.draws)
    return watch.differentiated


@torch.no_grad()
def slowdown(system: System, data: Split) -> float:
    """Median time of a forward pass in units of the classifier's alone, both measured in turn on a small batch."""
    few = _few(data)

    def whole() -> object:
        return system(few.x, few.draws)

    def alone() -> object:
        return system.classifier(few.x)

    def crossing() -> object:
        """What it costs to ask another process for nothing; not the system's own."""
        return [function.echo(few.x) for function in remote]

    remote = _remote(system)
    clock = _clock(few.x, remote)
    tasks = (whole, alone, crossing)
    for task in tasks:
        task()
    times: list[tuple[float, ...]] = []
    while len(times) < REPEATS and sum(map(sum, times)) < SECONDS:
        times.append(tuple(_seconds(task, clock) for task in tasks))
    one, other, asked = (float(median(column)) for column in zip(*times, strict=True))
    return max(one - asked, 0.0) / max(other, 1e-9)


def _remote(system: System) -> list[Any]:
    """The functions of a system that run in another process."""
    return [call for call in (system.classifier, *(part.call for part in system.parts)) if hasattr(call, "watched")]


def _clock(like: Tensor, remote: Sequence[Any]) -> Callable[[], float]:
    """Seconds of the processor, here and where functions run elsewhere, or of the clock for a GPU: others do not slow it down."""
    if like.is_cuda:

        def synchronised() -> float:
            torch.cuda.synchronize(like.device)
            return time.perf_counter()

        return synchronised
    return lambda: time.process_time() + (remote[0].processor() if remote else 0.0)


def _seconds(task: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    task()
    return clock() - begin


def _few(data: Split) -> Split:
    return data[torch.arange(min(BATCH, len(data)), device=data.y.device)]
