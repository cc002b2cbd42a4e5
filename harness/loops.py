"""Whether a system works for its answers: differentiates inside its forward pass, or takes far longer than its classifier."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.system import System
from harness.types import Split

REPEATS, BATCH, SECONDS = 7, 64, 2.0
_DERIVATIVES = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}


class _Watch(TorchFunctionMode):
    """Notes whether anything is differentiated, however that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.differentiated: bool = False

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        self.differentiated |= func in _DERIVATIVES
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def autograd(system: System, data: Split) -> bool:
    """Whether the system differentiates on its way from a few inputs to its answers."""
    few = _few(data)
    watch = _Watch()
    with watch:
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
    while len(times) < REPEATS and sum(map(sum, times)) < SECONDS:
        times.append((_seconds(whole, few.x), _seconds(alone, few.x)))
    one, other = (float(median(column)) for column in zip(*times, strict=True))
    return one / max(other, 1e-9)


def _seconds(function: Callable[[], object], like: Tensor) -> float:
    """Seconds of the processor, which other programs do not slow down, or of the clock for a GPU."""
    if not like.is_cuda:
        begin = time.process_time()
        function()
        return time.process_time() - begin
    torch.cuda.synchronize(like.device)
    begin = time.perf_counter()
    function()
    torch.cuda.synchronize(like.device)
    return time.perf_counter() - begin


def _few(data: Split) -> Split:
    return data[torch.arange(min(BATCH, len(data)), device=data.y.device)]
