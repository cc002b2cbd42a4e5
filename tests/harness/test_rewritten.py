"""A defense's own code differentiated by other rules, against what it would be if written for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from harness.rewritten import SOFTNESS, Smooth, Unrolled, under


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.autograd.grad(function(x).sum(), x)[0]


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "round": lambda x: torch.round(x * 7) / 7,
    "method": lambda x: (x * 7).floor() / 7,
    "whole numbers": lambda x: (x * 7).long() / 7,
    "cast twice": lambda x: (x * 7).int().float() / 7,
}


@pytest.mark.parametrize("name", STEPS)
def test_rounding_keeps_its_value_and_lets_the_gradient_through(name: str) -> None:
    x = torch.rand(3, 5, requires_grad=True)
    smooth = under(Smooth, STEPS[name])
    assert torch.equal(smooth(x), STEPS[name](x))
    assert torch.allclose(slope(smooth, x), torch.ones_like(x))


@pytest.mark.parametrize(
    "function", [lambda x: (x > 0.5).float(), lambda x: torch.where(x > 0.5, 1.0, 0.0), lambda x: x.gt(0.5).double()]
)
def test_comparisons_get_the_slope_of_a_sigmoid(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(3, 5, requires_grad=True)
    smooth = under(Smooth, function)
    assert torch.equal(smooth(x), function(x))
    expected = slope(lambda z: torch.sigmoid((z - 0.5) / SOFTNESS), x)
    assert torch.allclose(slope(smooth, x), expected.to(x), atol=1e-6)


def test_sign_and_one_hot_maxima() -> None:
    x = torch.randn(3, 5, requires_grad=True)
    assert torch.allclose(slope(under(Smooth, torch.sign), x), slope(lambda z: torch.tanh(z / SOFTNESS), x))
    picked = under(Smooth, lambda z: one_hot(z.argmax(1), 5).float()[:, 0])
    assert torch.equal(picked(x), (x.argmax(1) == 0).float())
    assert torch.allclose(slope(picked, x), slope(lambda z: torch.softmax(z, 1)[:, 0], x), atol=1e-6)


def test_nothing_changes_outside_the_mode() -> None:
    x = torch.rand(3, 5, requires_grad=True)
    under(Smooth, torch.round)(x)
    assert torch.equal(slope(torch.round, x), torch.zeros_like(x))


def looped(x: Tensor) -> Tensor:
    """A purifier as people write them: its graph is cut at every step."""
    z = x.detach().clone()
    for _ in range(3):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(((z - 0.5) ** 4).sum(), z)
        z = (z - 0.1 * found).detach()
    return z


def backwards(x: Tensor) -> Tensor:
    """The same with `backward` and `.grad` under no_grad."""
    z = x.data.clone()
    for _ in range(3):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            ((z - 0.5) ** 4).sum().backward()
        with torch.no_grad():
            z = z - 0.1 * z.grad
    return z.detach()


def whole(x: Tensor) -> Tensor:
    """What they compute, in one graph."""
    for _ in range(3):
        x = x - 0.4 * (x - 0.5) ** 3
    return x


@pytest.mark.parametrize("purify", [looped, backwards])
def test_a_loop_that_cuts_its_graph_is_unrolled(purify: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(4, 6, dtype=torch.float64, requires_grad=True)
    assert not purify(x).requires_grad
    found = under(Unrolled, purify)
    assert torch.allclose(found(x), whole(x))
    assert torch.allclose(slope(found, x), slope(whole, x))


def test_the_gradient_of_a_step_is_differentiated_itself() -> None:
    """Without the second derivative each step would look like the identity."""
    x = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert not torch.allclose(slope(under(Unrolled, looped), x), torch.ones_like(x), atol=1e-3)
