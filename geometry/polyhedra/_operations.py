"""Which operations of torch are affine in a network's input, by name, and under what condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

_LAYOUT = """
    __getitem__ broadcast_to cat chunk clone concat concatenate contiguous double expand expand_as flatten flip float
    hstack index_select movedim narrow permute pixel_shuffle pixel_unshuffle ravel repeat reshape reshape_as roll select
    split squeeze stack swapaxes t tile to transpose type type_as unbind unflatten unfold unsqueeze view view_as vstack
"""
_AVERAGES = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d avg_pool3d cumsum diff fold
    interpolate mean pad _pad sum upsample
"""
_SUMS = (
    "__add__ __iadd__ __isub__ __neg__ __pos__ __radd__ __rsub__ __sub__ add neg negative positive rsub sub subtract"
)
_PRODUCTS = """
    __imul__ __matmul__ __mul__ __rmatmul__ __rmul__ addmm addmv baddbmm bmm conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d dot einsum inner kron linear matmul mm mul multiply mv outer tensordot
"""
_QUOTIENTS = "__itruediv__ __truediv__ div divide true_divide"
_DROPOUTS = "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout feature_dropout"

Arguments = tuple[Sequence[Any], Mapping[str, Any]]


def operation(function: Callable[..., Any]) -> str:
    """The name of a function of torch; the in-place version has the name of the other."""
    name = str(getattr(function, "__name__", function))
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in arguments, at any depth of lists and tuples."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors(value)


def is_affine(name: str, arguments: Arguments, follows: Callable[[Any], bool]) -> bool:
    """Whether an operation is affine in the arguments that follow the input."""
    rule = _RULES.get(name)
    return rule is not None and rule(arguments, follows)


def _always(arguments: Arguments, follows: Callable[[Any], bool]) -> bool:
    return True


def _one_factor(arguments: Arguments, follows: Callable[[Any], bool]) -> bool:
    """A product is affine where one factor follows the input; a bias that does counts as one."""
    return sum(follows(tensor) for tensor in tensors(list(arguments))) == 1


def _numerator(arguments: Arguments, follows: Callable[[Any], bool]) -> bool:
    divisor = [*arguments[0], *arguments[1].values()][1:]
    return not any(follows(tensor) for tensor in tensors(divisor))


def _evaluating(position: int) -> Callable[[Arguments, Callable[[Any], bool]], bool]:
    """The flag for training, by keyword or at its place, is off."""

    def rule(arguments: Arguments, follows: Callable[[Any], bool]) -> bool:
        given, named = arguments
        default = given[position] if len(given) > position else False
        return not named.get("training", named.get("train", default))

    return rule


_RULES: dict[str, Callable[[Arguments, Callable[[Any], bool]], bool]] = {
    **dict.fromkeys((_LAYOUT + _AVERAGES + _SUMS).split(), _always),
    **dict.fromkeys(_PRODUCTS.split(), _one_factor),
    **dict.fromkeys(_QUOTIENTS.split(), _numerator),
    **dict.fromkeys(_DROPOUTS.split(), _evaluating(2)),
    "batch_norm": _evaluating(5),
}
