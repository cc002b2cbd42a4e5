"""A ReLU network with its corners rounded off, for gradients of what is constant in each polyhedron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import softplus
from torch.overrides import TorchFunctionMode

_RELUS = {torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, torch.nn.functional.relu}


class SoftplusForReLU(TorchFunctionMode):
    """In this context a ReLU is softplus(beta z) / beta, which has a second derivative."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in _RELUS:
            return softplus(args[0], beta=self.beta)
        return func(*args, **(kwargs or {}))
