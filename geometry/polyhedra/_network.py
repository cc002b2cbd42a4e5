"""Reading piecewise-linear networks: what each ReLU and max-pool decided, and the layers of a plain ReLU network.

A network is any module whose forward pass is torch code. Operations that are affine in the input pass; ReLU, leaky ReLU
and max-pool are met in the order in which they run; everything else is refused by the name of its module.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from geometry.polyhedra._operations import is_affine, operation, tensors
from geometry.polyhedra._windows import windows

Layer = tuple[NDArray[np.float64], NDArray[np.float64]]

_POOLS = ("max_pool1d", "max_pool2d")


@dataclass(frozen=True, eq=False)
class Symbols:
    """What one piecewise-linear function decided at each input.

    function: relu, leaky_relu or max_pool. values: what it was given, (B, *units) of a ReLU; of a max-pool the windows
    (B, *units, K), -inf where a window reaches over the border.
    """

    function: str
    values: Tensor

    @property
    def bits(self) -> Tensor:
        """(B, h) booleans: 1 iff z > 0, and 0 iff z <= 0; a max-pool has a bit for each value of a window, 1 for the winner."""
        if self.function != "max_pool":
            return (self.values > 0).flatten(1)
        winners = self.values.argmax(-1, keepdim=True)
        return torch.zeros_like(self.values, dtype=torch.bool).scatter_(-1, winners, True).flatten(1)

    @property
    def margins(self) -> Tensor:
        """(B, m) numbers >= 0 that stay so on the cell: |z| of a ReLU, winner minus each other value of a max-pool."""
        if self.function != "max_pool":
            return torch.where(self.values > 0, self.values, -self.values).flatten(1)
        winners = self.values.argmax(-1, keepdim=True)
        others = torch.arange(self.values.shape[-1] - 1, device=winners.device)
        others = others + (others >= winners)
        return (self.values.gather(-1, winners) - self.values.gather(-1, others)).flatten(1)


def symbols(network: nn.Module, x: Tensor) -> tuple[list[Symbols], Tensor]:
    """What every ReLU, leaky ReLU and max-pool decides at x (B, *S), in the order in which they run; and the output.

    In the precision of x and the network, differentiable where x asks for it. Raises ValueError, with the name of the
    module, for an operation that is not piecewise linear or a batch-norm in training mode.
    """
    _refuse_training(network)
    reading = _Symbols(network)
    with reading:
        output = network(reading.marked(x.view_as(x)))
    return reading.found, output


def dense_layers(network: nn.Module, *, shape: Sequence[int] | None = None) -> list[Layer]:
    """Weight (out, in) and bias (out,) of each layer of a plain ReLU network, the output layer last, float64.

    Affine operations between two ReLUs are folded into one layer. shape: of an input, (in_features,) of the first
    linear module unless given. Raises ValueError, with the name of the module, for leaky ReLU, max-pool, a connection
    that skips a ReLU, weights that are not finite, and what `symbols` refuses.
    """
    network = in_double(network)
    reading = _Layers(network)
    x = torch.zeros(1, *(_input_shape(network) if shape is None else shape), dtype=torch.float64, requires_grad=True)
    reading.start = reading.marked(x)
    with torch.enable_grad():
        with reading:
            output = network(x)
        reading.add(output)
    return reading.found


def in_double(network: nn.Module) -> nn.Module:
    """The network in float64 with frozen parameters: itself where it is so already, otherwise a copy.

    Raises ValueError for weights that are not finite (named), and a batch-norm in training mode.
    """
    _refuse_training(network)
    state = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in state:
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values; a cell is defined by finite weights only")
    if all(tensor.dtype == torch.float64 or not tensor.is_floating_point() for _, tensor in state) and not any(
        parameter.requires_grad for parameter in network.parameters()
    ):
        return network
    return copy.deepcopy(network).double().requires_grad_(False)


def require_finite(values: Tensor, name: str) -> None:
    """Raise ValueError where values are NaN or infinite."""
    if not values.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values; it lies in no cell")


def _refuse_training(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"batch-norm '{name}' normalises by its batch: no map of one input; call network.eval(), "
                "with running statistics"
            )


def _input_shape(network: nn.Module) -> tuple[int, ...]:
    for module in network.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
    raise ValueError("the network has no linear module, so its input is unknown; give shape=")


class _Reading(TorchFunctionMode):
    """Lets affine operations pass, hands piecewise-linear ones to `decide`, refuses what else follows the input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = {id(module): name for name, module in network.named_modules()}

    def marked(self, tensor: Tensor) -> Tensor:
        """The tensor, known as one that follows the input."""
        tensor._follows_input = True  # type: ignore[attr-defined]
        return tensor

    def follows(self, value: Any) -> bool:
        """Whether a tensor follows the input."""
        return getattr(value, "_follows_input", False)

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(self.follows(tensor) for tensor in tensors([args, kwargs])):
            return func(*args, **kwargs)
        name = operation(func)
        if name in ("relu", "leaky_relu", *_POOLS):
            return self.marked(self.decide(name, func, args, kwargs))
        if name != "__get__" and not is_affine(name, (args, kwargs), self.follows):
            result = self._described(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        given = [tensor for tensor in tensors([args, kwargs]) if self.follows(tensor)]
        slope = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        for tensor in tensors(result):
            if not tensor.is_floating_point() or (slope and not tensor.requires_grad):
                self.refuse(name)
            self.marked(tensor)
        return result

    def _described(self, func: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """The answer of what tells the shape or the kind of a tensor, not its values."""
        name = operation(func)
        if name not in _DESCRIPTIONS:
            self.refuse(name)
        return func(*args, **kwargs)

    def decide(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Tensor:
        """The result of a piecewise-linear function."""
        raise NotImplementedError

    def refuse(self, name: str, why: str = "is not piecewise linear in the input as given") -> None:
        """Raise ValueError with the innermost module of the network that is running."""
        frame = sys._getframe(1)
        while frame is not None:
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module) and id(module) in self.names:
                path = self.names[id(module)]
                raise ValueError(f"module '{path}' ({type(module).__name__}): {name} {why}")
            frame = frame.f_back  # type: ignore[assignment]
        raise ValueError(f"{name} {why}")


_DESCRIPTIONS = {
    "size",
    "dim",
    "numel",
    "nelement",
    "stride",
    "is_floating_point",
    "is_complex",
    "is_contiguous",
    "__len__",
}


class _Symbols(_Reading):
    """Keeps what each piecewise-linear function was given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.found: list[Symbols] = []

    def decide(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Tensor:
        given: Tensor = args[0] if args else kwargs["input"]
        if name in _POOLS:
            self.found.append(Symbols("max_pool", windows(given, name, args[1:], kwargs)))
            pooled: Tensor = func(*args, **kwargs)
            return pooled
        in_place = func.__name__.endswith("_") or kwargs.get("inplace") or any(value is True for value in args)
        self.found.append(Symbols(name, given.clone() if in_place else given))
        result: Tensor = func(*args, **kwargs)
        return result


class _Layers(_Reading):
    """Breaks the graph at each ReLU; the layer before it is a value and a Jacobian at zero."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.found: list[Layer] = []
        self.start = torch.empty(0)
        self.past: list[Tensor] = []

    def decide(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Tensor:
        if name != "relu":
            self.refuse(name, "has no place in a plain ReLU network; halfspaces and local_affine_map take it")
        given: Tensor = args[0] if args else kwargs["input"]
        self.add(given)
        self.past.append(self.start)
        self.start = torch.zeros_like(given, requires_grad=True)
        return self.start

    def add(self, z: Tensor) -> None:
        """The layer from the last break to z (1, *units)."""
        rows = z.reshape(-1)
        skipped = torch.autograd.grad(rows.sum(), [*self.past, self.start], retain_graph=True, allow_unused=True)
        if any(slope is not None for slope in skipped[:-1]):
            self.refuse("a connection", "skips a ReLU: no plain network; halfspaces and local_affine_map take it")
        if skipped[-1] is None:
            weight = torch.zeros(len(rows), self.start.numel(), dtype=torch.float64)
        else:
            one_each = torch.eye(len(rows), dtype=torch.float64).reshape(len(rows), *rows.shape)
            (weight,) = torch.autograd.grad(rows, self.start, one_each, is_grads_batched=True)
        self.found.append((weight.reshape(len(rows), -1).numpy(), rows.detach().numpy()))
