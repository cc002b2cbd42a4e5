"""Derivatives of what a network computes, in blocks: forwards along directions, backwards from values."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

Function = Callable[[Tensor], Tensor]  # (B, *S) -> (B, m), each row of its own input

AT_ONCE = 256


def along(function: Function, x: Tensor, directions: Tensor) -> Tensor:
    """Derivatives of each row along its direction: x and directions (B, *S) -> (B, m)."""
    with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, on first use of forward derivatives
        start = x.clone(memory_format=torch.contiguous_format)
        result = function(forward_ad.make_dual(start, directions))  # type: ignore[no-untyped-call]
        tangent = forward_ad.unpack_dual(result).tangent  # type: ignore[no-untyped-call]
        slope: Tensor = torch.zeros_like(result) if tangent is None else tangent.clone()
        return slope


def jacobian(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values (m,) and Jacobian (m, d) at one input (*S): backwards where there are fewer values than coordinates."""
    with torch.enable_grad():
        start = x[None].detach().requires_grad_()
        values = function(start)[0]
        if len(values) < x.numel():
            return values.detach(), _backwards(values, start)
    return values.detach(), _forwards(function, x)


def _backwards(values: Tensor, start: Tensor) -> Tensor:
    if not values.requires_grad:
        return values.new_zeros(len(values), start.numel())
    blocks = []
    for rows in torch.split(torch.eye(len(values), dtype=values.dtype, device=values.device), AT_ONCE):
        (slope,) = torch.autograd.grad(values, start, rows, is_grads_batched=True, retain_graph=True)
        blocks.append(slope.flatten(1))
    return torch.cat(blocks)


def _forwards(function: Function, x: Tensor) -> Tensor:
    columns = []
    for part in torch.split(torch.eye(x.numel(), dtype=x.dtype, device=x.device), AT_ONCE):
        directions = part.reshape(-1, *x.shape)
        columns.append(along(function, x.expand_as(directions), directions))
    return torch.cat(columns).T.contiguous()
