"""The affine map that a piecewise-linear network is round an input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geometry.polyhedra._network import in_double, require_finite, symbols


@dataclass(frozen=True, eq=False)
class LocalAffineMap:
    """x -> weight x + bias on the cell of each input: weight (B, K, d), bias (B, K), float64, inputs flattened to (d,)."""

    weight: Tensor
    bias: Tensor


def local_affine_map(network: nn.Module, x: Tensor) -> LocalAffineMap:
    """The maps that the network (B, *S) -> (B, K) is round each input, by a backward pass for each output, float64.

    Raises ValueError for what is not piecewise linear (named), for a batch-norm in training mode, and for weights or
    inputs that are not finite. Source: Sattelberg et al. 2023, equation (1); bias = network(x) - weight x.
    """
    require_finite(x, "an input")
    network = in_double(network)
    with torch.enable_grad():
        start = x.detach().double().requires_grad_()
        _, output = symbols(network, start)
        rows = [
            torch.autograd.grad(values.sum(), start, retain_graph=True)[0].flatten(1)
            for values in output.flatten(1).unbind(1)
        ]
    weight = torch.stack(rows, 1)
    bias = output.detach().flatten(1) - torch.einsum("bkd,bd->bk", weight, start.detach().flatten(1))
    return LocalAffineMap(weight, bias)
