"""Changes of an input through a decoder: g(z + eta) - g(z), and products with its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks._ball import Feasible, length, per_input

HALVINGS = 20
WIDEST = 2.0**20  # times a latent step, that a search along it goes at most


@dataclass(frozen=True)
class Decoded:
    """A decoder round the codes z (B, d) of inputs; an input is changed by what the decoded point changes."""

    decode: Callable[[Tensor], Tensor]
    z: Tensor

    def change(self, eta: Tensor) -> Tensor:
        """g(z + eta) - g(z): (B, d) -> (B, *S)."""
        return self.decode(self.z + eta) - self.decode(self.z)

    def forward_product(self, eta: Tensor, vectors: Tensor) -> Tensor:
        """The decoder's Jacobian at z + eta times (B, d): (B, *S)."""
        return forward_product(lambda step: self.decode(self.z + step), eta, vectors)

    def backward_product(self, eta: Tensor, vectors: Tensor) -> Tensor:
        """The transposed Jacobian at z + eta times (B, *S): (B, d)."""
        return backward_product(lambda step: self.decode(self.z + step), eta, vectors)

    def within(self, eta: Tensor, feasible: Feasible) -> Tensor:
        """Codes moved back towards z, by bisection, as far as their change is longer than the set allows: (B, d)."""
        too_far = length(self.change(eta).detach(), feasible) > feasible.epsilon
        if not bool(too_far.any()):
            return eta
        return torch.where(too_far[:, None], per_input(self.reach(eta, feasible, most=1.0), eta) * eta, eta)

    @torch.no_grad()
    def reach(self, eta: Tensor, feasible: Feasible, *, most: float = WIDEST) -> Tensor:
        """How often eta the change is as long as the set allows, at most `most` times: (B,)."""
        low, high = torch.zeros_like(eta[:, 0]), torch.ones_like(eta[:, 0])
        while float(high.max()) < most:
            short = length(self.change(per_input(high, eta) * eta), feasible) < feasible.epsilon
            if not bool(short.any()):
                break
            high = torch.where(short, high * 2, high)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            short = length(self.change(per_input(middle, eta) * eta), feasible) <= feasible.epsilon
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return low


@torch.enable_grad()
def backward_product(function: Callable[[Tensor], Tensor], at: Tensor, vectors: Tensor) -> Tensor:
    """The transposed Jacobian of each input's own function at (B, d) times vectors, shaped as the values: (B, d)."""
    at = at.detach().requires_grad_()
    (found,) = torch.autograd.grad(function(at), at, vectors, allow_unused=True, materialize_grads=True)
    return found


@torch.enable_grad()
def forward_product(function: Callable[[Tensor], Tensor], at: Tensor, vectors: Tensor) -> Tensor:
    """The Jacobian times vectors (B, d), by differentiating the transposed product, which is linear in its vector."""
    at = at.detach().requires_grad_()
    values = function(at)
    dual = torch.zeros_like(values, requires_grad=True)
    (pulled,) = torch.autograd.grad(values, at, dual, create_graph=True, allow_unused=True, materialize_grads=True)
    if not pulled.requires_grad:
        return torch.zeros_like(values)
    (found,) = torch.autograd.grad(pulled, dual, vectors, allow_unused=True, materialize_grads=True)
    return found
