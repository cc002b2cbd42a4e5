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
        result = function(forward_ad.make_dual(x.clone(memory_format=torch.contiguous_format), directions))
        tangent = forward_ad.unpack_dual(result).tangent
        return torch.zeros_like(result) if tangent is None else tangent.clone()


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
    for rows in torch.eye(len(values), dtype=values.dtype, device=values.device).split(AT_ONCE):
        (slope,) = torch.autograd.grad(values, start, rows, is_grads_batched=True, retain_graph=True)
        blocks.append(slope.flatten(1))
    return torch.cat(blocks)


def _forwards(function: Function, x: Tensor) -> Tensor:
    basis = torch.eye(x.numel(), dtype=x.dtype, device=x.device)
    columns = [
        along(function, x.expand(len(part), *x.shape), part.reshape(-1, *x.shape)) for part in basis.split(AT_ONCE)
    ]
    return torch.cat(columns).T.contiguous()
