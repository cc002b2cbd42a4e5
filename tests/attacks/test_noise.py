"""Noise: where it lies, and that the first success is kept."""

from __future__ import annotations

import torch

from attacks.noise import Noise
from harness.types import Budget, View


def test_l2_noise_lies_on_the_sphere_and_linf_noise_fills_the_ball(digits, draws):
    network = digits[0]
    x, y = torch.full((64, 1, 8, 8), 0.5), torch.full((64,), -1)
    view = View(decide=None, fooled=lambda candidate, *_: torch.zeros(len(candidate), dtype=torch.bool))
    sphere = Noise().perturb(view, x, y, Budget("l2", 0.5), draws) - x
    assert torch.allclose(sphere.flatten(1).norm(dim=1), torch.full((64,), 0.5), atol=1e-5)
    cube = Noise().perturb(view, x, y, Budget("linf", 0.1), draws) - x
    assert 0.099 < cube.abs().max() <= 0.1 * (1 + 1e-6)
    assert network(x).shape == (64, 10)


def test_more_repeats_never_break_fewer(digits, draws):
    network, x, y = digits
    view, budget = View.of(network), Budget("linf", 0.25)
    broken = [network(Noise(repeats=n).perturb(view, x, y, budget, draws)).argmax(1) != y for n in (1, 30)]
    assert (broken[1] | ~broken[0]).all()
    assert broken[1].sum() > broken[0].sum()


def test_a_random_patch_stands_at_one_of_the_sixteen_places(digits, draws):
    _, x, y = digits
    view = View(decide=None, fooled=lambda candidate, *_: torch.zeros(len(candidate), dtype=torch.bool))
    changed = (Noise().perturb(view, x, y, Budget("patch", 3.0), draws) != x).any(1)
    corners = {tuple(pixels.nonzero().amin(0).tolist()) for pixels in changed}
    assert changed.flatten(1).sum(1).unique().tolist() == [9]
    assert corners <= {(row, column) for row in (0, 2, 3, 5) for column in (0, 2, 3, 5)}
    assert len(corners) > 10
