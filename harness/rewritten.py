"""A defense's own code run with other rules of differentiation: steps made smooth, loops that cut their graph unrolled.

Nothing of the defense is changed or declared: torch hands every operation to a mode, which answers for some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.gradients import straight_through

SOFTNESS = 0.1  # of a comparison, in units of what is compared

_STEPS = {getattr(place, name) for place in (torch, Tensor) for name in ("round", "floor", "ceil", "trunc")}
_SIGNS = {torch.sign, Tensor.sign, torch.sgn, Tensor.sgn}
_ABOVE = {getattr(place, name) for place in (torch, Tensor) for name in ("gt", "ge")} | {Tensor.__gt__, Tensor.__ge__}
_BELOW = {getattr(place, name) for place in (torch, Tensor) for name in ("lt", "le")} | {Tensor.__lt__, Tensor.__le__}
_CASTS = {Tensor.float, Tensor.double, Tensor.to, Tensor.type_as, Tensor.long, Tensor.int, Tensor.type}
_ARGMAX = {torch.argmax, Tensor.argmax}
_DATA, _GRAD = vars(torch._C.TensorBase)["data"].__get__, vars(torch._C.TensorBase)["grad"].__get__
_WHERE = {torch.where, Tensor.where}
_NUMBERS = ("add", "sub", "mul", "div", "true_divide")
_DUNDERS = tuple(f"__{side}{name}__" for name in ("add", "sub", "mul", "truediv") for side in ("", "r"))
_ARITHMETIC = {getattr(place, name) for place in (torch, Tensor) for name in _NUMBERS}
_EQUAL = {torch.eq, Tensor.eq, Tensor.__eq__}
_REDUCE = {getattr(place, name) for place in (torch, Tensor) for name in ("sum", "mean")}
_MOVES = (
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "t", "movedim"),
    *("contiguous", "clone", "expand", "flip", "unbind", "__getitem__"),
)
_MOVED = {getattr(place, name) for place in (torch, Tensor) for name in _MOVES if hasattr(place, name)}
_JOINED = {torch.stack, torch.cat}
_COUNTED = {getattr(place, name) for place in (torch, Tensor) for name in ("scatter_add", "scatter")}
_COUNTED |= {Tensor.scatter_add_, Tensor.scatter_}
_DERIVATIVES = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}
_ARITHMETIC |= {getattr(Tensor, name) for name in _DUNDERS}


class Smooth(TorchFunctionMode):
    """Rounding, sign, comparisons, whole numbers and hard votes keep their values and get the slope of a smooth stand-in.

    A vote for the class of a maximum counts as the softmax of what it is the maximum of, wherever votes are counted: one-hot,
    by comparison, scattered, or by their mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.soft: dict[
            int, tuple[Tensor, Tensor]
        ] = {}  # of results that hold no gradient: themselves and their stand-in
        self.votes: dict[int, tuple[Tensor, Tensor]] = {}  # of classes (*S): themselves and their probabilities (*S, K)

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.votes and args:
            result = self._counted(result, func, args, kwargs or {})
        if not isinstance(result, Tensor) or not args:
            return result
        if func in _STEPS and _follows(args[0]):
            return straight_through(result, args[0])
        if func in _SIGNS and _follows(args[0]):
            return straight_through(result, torch.tanh(args[0] / SOFTNESS))
        if func in _ABOVE or func in _BELOW:
            self._compared(result, args, 1 if func in _ABOVE else -1)
        elif func in _ARGMAX and _follows(args[0]) and len(args) + len(kwargs or {}) > 1:
            self._vote(result, args[0], (kwargs or {}).get("dim", args[1] if len(args) > 1 else None))
        elif func in _CASTS:
            return self._cast(result, args[0])
        elif func in _ARITHMETIC and any(id(value) in self.soft for value in args):
            return self._reckoned(result, func(*(self._softened(value) for value in args), **(kwargs or {})))
        elif func in (_REDUCE | _MOVED) and id(args[0]) in self.soft:
            return self._reckoned(result, func(_real(self._softened(args[0])), *args[1:], **(kwargs or {})))
        elif func in _JOINED and any(id(value) in self.soft for value in args[0]):
            several = [_real(self._softened(value)) for value in args[0]]
            return self._reckoned(result, func(several, *args[1:], **(kwargs or {})))
        elif func in _WHERE and len(args) == 3 and id(args[0]) in self.soft and result.is_floating_point():
            share = self.soft[id(args[0])][1]
            return straight_through(result, share * args[1] + (1 - share) * args[2])
        return result

    def _vote(self, result: Tensor, scores: Tensor, axis: int | None) -> None:
        """Remember the probabilities behind the classes of a maximum along an axis."""
        if axis is not None:
            chances = torch.softmax(scores.movedim(axis, -1), -1)
            self.votes[id(result)] = (result, chances.reshape(*result.shape, chances.shape[-1]))

    def _counted(self, result: Any, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """What becomes of classes that were voted for: moved about, joined, told apart, counted."""
        first = args[0]
        if func in _JOINED and all(id(value) in self.votes for value in first):
            axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            axis = axis if axis >= 0 else axis - 1
            self.votes[id(result)] = (result, func([self.votes[id(value)][1] for value in first], axis))
        elif func in _COUNTED and len(args) == 4 and id(args[2]) in self.votes:
            return self._scattered(result, func, args)
        elif not isinstance(first, Tensor) or id(first) not in self.votes:
            return result
        elif func in _MOVED:
            chances = self.votes[id(first)][1].flatten(0, -2)
            moved = func(torch.arange(first.numel(), device=first.device).view(first.shape), *args[1:], **kwargs)
            for part, places in zip(_several(result), _several(moved), strict=True):
                self.votes[id(part)] = (part, chances[places])
        elif func is torch.nn.functional.one_hot and result.shape == self.votes[id(first)][1].shape:
            self._remember(result, self.votes[id(first)][1])
        elif func in _EQUAL:
            self._told_apart(result, self.votes[id(first)][1], args[1])
        elif func in (torch.mode, Tensor.mode):
            axis = args[1] if len(args) > 1 else kwargs.get("dim", -1)
            chances = self.votes[id(first)][1]
            self.votes[id(result[0])] = (result[0], chances.mean(axis if axis >= 0 else axis - 1))
        elif func is torch.bincount and first.ndim == 1 and len(result) == self.votes[id(first)][1].shape[-1]:
            self._remember(result, self.votes[id(first)][1].sum(0))
        return result

    def _told_apart(self, result: Tensor, chances: Tensor, other: Any) -> None:
        """Whether a vote is for a class follows the probability of that class."""
        known = torch.as_tensor(other, device=chances.device)
        wanted = known.expand(result.shape)[..., None].long().clamp(0, chances.shape[-1] - 1)
        wide = chances.expand(*result.shape, chances.shape[-1])
        self._remember(result, wide.gather(-1, wanted)[..., 0])

    def _scattered(self, result: Tensor, func: Any, args: Sequence[Any]) -> Tensor:
        """Votes (B, m) scattered along the second axis follow their probabilities (B, m, K), weighed by what is scattered."""
        chances, weight = self.votes[id(args[2])][1], args[3]
        if args[1] not in (1, -1) or chances.ndim != 3 or not result.is_floating_point():
            return result
        weight = torch.as_tensor(weight, dtype=chances.dtype, device=chances.device).expand(chances.shape[:2])
        found = torch.einsum("bmk,bm->bk", chances, weight)
        if found.shape != result.shape:
            return result
        if func in (Tensor.scatter_add_, Tensor.scatter_):  # in place: whoever holds the tensor holds its slope
            return result.add_(found - found.detach())
        return straight_through(result, found)

    def _compared(self, result: Tensor, args: Sequence[Any], sign: int) -> None:
        if any(_follows(value) for value in args[:2]):
            self._remember(result, torch.sigmoid(sign * (args[0] - args[1]) / SOFTNESS))

    def _cast(self, result: Tensor, given: Any) -> Tensor:
        """A whole number remembers what it was cut from; a float made from it has that slope."""
        if _follows(given) and not result.is_floating_point():
            self._remember(result, given)
        if id(given) in self.soft and result.is_floating_point():
            return straight_through(result, self.soft[id(given)][1].to(result))
        return result

    def _softened(self, value: Any) -> Any:
        return self.soft[id(value)][1] if id(value) in self.soft else value

    def _reckoned(self, result: Tensor, stand_in: Tensor) -> Tensor:
        """What whole numbers are reckoned into follows what was reckoned from their stand-ins."""
        if result.is_floating_point():
            return straight_through(result, stand_in.to(result))
        self._remember(result, stand_in)
        return result

    def _remember(self, result: Tensor, stand_in: Tensor) -> None:
        self.soft[id(result)] = (result, stand_in)


def _several(value: Any) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else value


def _real(value: Tensor) -> Tensor:
    """Whole numbers and truths as floats, so that they can be reckoned with stand-ins."""
    return value if value.is_floating_point() else value.float()


def _follows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


class Unrolled(TorchFunctionMode):
    """An optimisation inside a forward pass stays in the graph: detach, no_grad and .data have no effect."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: list[Tensor] = []
        self.slopes: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch._C._set_grad_enabled:
            return func(True)
        if func in (Tensor.detach, Tensor.detach_, torch.detach) or func == _DATA:
            return args[0].clone()
        if func is Tensor.requires_grad_:
            self.watched.append(args[0])
            return args[0] if args[0].requires_grad else func(*args, **kwargs)
        if func is torch.autograd.grad:
            return func(*args, **(kwargs | {"create_graph": True, "allow_unused": True, "materialize_grads": True}))
        if func is Tensor.backward and args[0].requires_grad:
            return self._backward(args[0])
        if func == _GRAD and id(args[0]) in self.slopes:
            return self.slopes[id(args[0])]
        return func(*args, **kwargs)

    def _backward(self, loss: Tensor) -> None:
        wanted = [tensor for tensor in self.watched if tensor.requires_grad]
        found = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True, materialize_grads=True)
        self.slopes |= {id(tensor): slope for tensor, slope in zip(wanted, found, strict=True)}


class Watch(TorchFunctionMode):
    """Notes whether anything is differentiated, however that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.differentiated: bool = False

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        self.differentiated |= func in _DERIVATIVES
        return func(*args, **(kwargs or {}))


def under(mode: type[TorchFunctionMode], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, each call inside a mode of its own; a function in another process is told the mode's name."""
    elsewhere = getattr(function, "under", None)
    if elsewhere is not None:
        return cast("Callable[..., Any]", elsewhere(mode.__name__.lower()))

    def call(*args: Any) -> Any:
        with mode():
            return function(*args)

    return call
