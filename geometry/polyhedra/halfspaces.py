"""The halfspaces of a cell: {x: A x <= c}, the points with one activation pattern."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geometry.polyhedra._derivatives import jacobian
from geometry.polyhedra._network import dense_layers, in_double, require_finite, symbols


class EmptyCell(ValueError):
    """No input has the activation pattern."""


@dataclass(frozen=True, eq=False)
class Halfspaces:
    """The cell {x: normals x <= offsets}: normals A (m, d), offsets c (m,), float64, inputs flattened to (d,).

    Row i belongs to unit i of the activation pattern; a max-pool has a row for each value of a window but the winner.
    point (d,): one that lies in the cell, if it is known. first: how many rows belong to the first layer, whose rows
    span all others in a network that passes its input on nowhere else.
    """

    normals: Tensor
    offsets: Tensor
    point: Tensor | None = None
    first: int = 0


def halfspaces(network: nn.Module, x: Tensor) -> Halfspaces:
    """The halfspaces of the cell of one input x (*S), in float64.

    For networks of affine operations, ReLU, leaky ReLU and max-pool, with skip connections, in evaluation mode. A unit
    at z = 0 counts as off, so the cell has its point on the border. Raises ValueError for what is not piecewise linear
    (named), for a batch-norm in training mode, and for weights or inputs that are not finite. Source: Liu et al. 2023,
    equation (5); beyond plain networks, rows are Jacobians of what each function is given.
    """
    require_finite(x, "the input")
    network, point = in_double(network), x.detach().double()

    def margins(inputs: Tensor) -> Tensor:
        found, _ = symbols(network, inputs)
        if not found:
            raise ValueError(
                "the network has no ReLU and no max-pool: it is affine, and its one cell is the whole space"
            )
        groups.append(found[0].margins[0].isfinite())
        return torch.cat([one.margins for one in found], 1)

    groups: list[Tensor] = []
    values, slopes = jacobian(margins, point)
    within = values.isfinite()  # a window that reaches over the border has values that never win
    flat, slopes = point.flatten(), slopes[within]
    return Halfspaces(-slopes, values[within] - slopes @ flat, flat, int(groups[0].sum()))


def pattern_halfspaces(network: nn.Module, pattern: Tensor) -> Halfspaces:
    """The halfspaces of an activation pattern (h,) of a plain ReLU network, whether or not a point has it.

    Raises ValueError for a pattern of another length and for what `dense_layers` refuses. Source: Liu et al. 2023,
    equation (5).
    """
    layers = dense_layers(network)
    hidden = sum(len(bias) for _, bias in layers[:-1])
    if pattern.shape != (hidden,):
        raise ValueError(f"the pattern has the shape {tuple(pattern.shape)}; the network has {hidden} hidden units")
    weight, offset = (torch.as_tensor(value) for value in layers[0])
    rows, ends = [], []
    widths = [len(bias) for _, bias in layers[:-1]]
    for i, bits in enumerate(torch.split(pattern.bool().cpu(), widths)):
        sign = 1.0 - 2.0 * bits.double()
        rows.append(sign[:, None] * weight)
        ends.append(-sign * offset)
        following, shift = (torch.as_tensor(value) for value in layers[i + 1])
        open_units = following * bits.double()
        weight, offset = open_units @ weight, open_units @ offset + shift
    return Halfspaces(torch.cat(rows), torch.cat(ends), first=len(rows[0]))
