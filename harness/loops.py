"""Whether a system works for its answers: differentiates inside its forward pass, or takes far longer than its classifier."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch

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

    whole()
    alone()
    times: list[tuple[float, float]] = []
    wall = few.x.is_cuda or bool(_remote(system))
    while len(times) < REPEATS and sum(map(sum, times)) < SECONDS:
        times.append((_seconds(whole, wall=wall), _seconds(alone, wall=wall)))
    one, other = (float(median(column)) for column in zip(*times, strict=True))
    return one / max(other, 1e-9)


def _remote(system: System) -> list[Any]:
    """The functions of a system that run in another process."""
    return [call for call in (system.classifier, *(part.call for part in system.parts)) if hasattr(call, "watched")]


def _seconds(function: Callable[[], object], *, wall: bool) -> float:
    """Seconds of the processor, which other programs do not slow down, or of the clock where others work as well."""
    clock = time.perf_counter if wall else time.process_time
    if wall and torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = clock()
    function()
    if wall and torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begin


def _few(data: Split) -> Split:
    return data[torch.arange(min(BATCH, len(data)), device=data.y.device)]
