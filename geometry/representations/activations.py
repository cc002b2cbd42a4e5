"""Activations of a network's layers, by the names that torch gives its modules."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

PENULTIMATE = "features"  # stands for the method features(x) -> (B, F), where a network has one


def layer_names(network: nn.Module) -> list[str]:
    """The names that `activations` knows: modules without modules of their own, in order, and PENULTIMATE last."""
    names = [name for name, module in network.named_modules() if name and not any(True for _ in module.children())]
    return [*names, PENULTIMATE] if callable(getattr(network, PENULTIMATE, None)) else names


def require_layers(network: nn.Module, names: Sequence[str]) -> None:
    """Raise ValueError for a name that is no layer of the network, listing the known ones."""
    known = [name for name, _ in network.named_modules() if name]
    for name in names:
        if name in known or (name == PENULTIMATE and callable(getattr(network, PENULTIMATE, None))):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"unknown layer '{name}': {hint}known: {', '.join(layer_names(network))}")


def activations(network: nn.Module, x: Tensor, names: Sequence[str]) -> list[Tensor]:
    """What each named layer gives for inputs (B, *S): tensors (B, F), differentiable; one pass, in the order of the names.

    A module that runs several times is taken at its last run. Raises ValueError for unknown names and for layers that do not
    run or give no tensor (B, ...).
    """
    require_layers(network, names)
    found: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(_keep(found, name)) for name in names if name in modules]
    try:
        if PENULTIMATE in names and PENULTIMATE not in modules:
            features: Callable[[Tensor], Tensor] = getattr(network, PENULTIMATE)
            found[PENULTIMATE] = features(x)
        if any(name not in found for name in names):
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    for name in names:
        given = found.get(name)
        if not isinstance(given, Tensor) or given.ndim < 2 or len(given) != len(x):
            what = "does not run" if given is None else f"gives {tuple(getattr(given, 'shape', ())) or type(given)}"
            raise ValueError(f"layer '{name}' {what}; activations (B, ...) of {len(x)} inputs are needed")
    return [found[name].flatten(1) for name in names]


@torch.no_grad()
def all_activations(network: nn.Module, x: Tensor, names: Sequence[str], *, block: int = 256) -> list[Tensor]:
    """The same without gradients, `block` inputs at a time."""
    parts = [activations(network, rows, names) for rows in torch.split(x, block)]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _keep(found: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        found[name] = output

    return hook
