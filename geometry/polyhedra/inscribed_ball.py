"""The largest ball round an input that stays in its cell: the nearest plane among those of all units, on the cell's maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geometry.polyhedra._derivatives import along
from geometry.polyhedra._network import require_finite, symbols

TINY = 1e-30


def inscribed_ball(network: nn.Module, x: Tensor) -> Tensor:
    """Radius of the largest ball at each input (B, *S) in its cell, min |z_i| / |dz_i/dx| over all units: (B,).

    At most the Chebyshev radius of the cell; infinite where no unit depends on the input, 0 on the border of a cell. By d
    forward derivatives of the whole batch, in memory for some values a unit, never an h x d matrix. In the precision of
    x and the network: in float32, a radius below a millionth of the inputs' size is mostly rounding. Raises ValueError
    for what is not piecewise linear (named), for a batch-norm in training mode, and for inputs that are not finite.
    """
    require_finite(x, "an input")
    x = x.detach()
    with torch.no_grad():
        margins = _margins(network, x)
    squares = torch.zeros_like(margins)
    for axis in range(x[0].numel()):
        direction = torch.zeros_like(x).flatten(1)
        direction[:, axis] = 1
        squares += along(lambda inputs: _margins(network, inputs), x, direction.view_as(x)).square()
    return _distances(margins, squares.sqrt()).amin(1)


def inscribed_ball_screened(network: nn.Module, x: Tensor, directions: Tensor, *, candidates: int = 64) -> Tensor:
    """The same radius for large networks: the units that look nearest along random directions are measured exactly, (B,).

    directions (n, *S): standard normal; the mean square of n forward derivatives estimates each unit's |dz/dx|^2 with a
    relative deviation of sqrt(2 / n). The `candidates` nearest units by the estimate get exact gradients, by a backward pass
    each over the batch, so the radius is never below the true one, and above it only where the nearest unit was missed.
    """
    require_finite(x, "an input")
    x = x.detach()
    with torch.no_grad():
        margins = _margins(network, x)
    squares = torch.zeros_like(margins)
    for direction in directions.to(x):
        squares += along(lambda inputs: _margins(network, inputs), x, direction.expand_as(x).contiguous()).square()
    estimate = _distances(margins, (squares / len(directions)).sqrt())
    nearest = estimate.topk(min(candidates, estimate.shape[1]), largest=False).indices
    with torch.enable_grad():
        start = x.clone().requires_grad_()
        chosen = _margins(network, start).gather(1, nearest)
        lengths = [_length(values, start) for values in chosen.unbind(1)]
    return _distances(chosen.detach(), torch.stack(lengths, 1)).amin(1)


def _length(values: Tensor, start: Tensor) -> Tensor:
    """The length (B,) of each row's gradient of one value a row."""
    if not values.requires_grad:
        return torch.zeros_like(values)
    (slope,) = torch.autograd.grad(values.sum(), start, retain_graph=True)
    length: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    return length


def _margins(network: nn.Module, x: Tensor) -> Tensor:
    found, _ = symbols(network, x)
    if not found:
        raise ValueError("the network has no ReLU and no max-pool: it is affine, and its one cell is the whole space")
    return torch.cat([one.margins for one in found], 1)


def _distances(margins: Tensor, lengths: Tensor) -> Tensor:
    return torch.where(lengths > TINY, margins / lengths.clamp_min(TINY), torch.inf)
