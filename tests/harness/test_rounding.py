"""Rounding to the data's grid: never out of the ball or the box, and as near as brute force finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.rounding import distance, inside, round_inside, to_levels


def on_grid(x: Tensor, levels: int) -> bool:
    return bool(((x.double() * levels) - (x.double() * levels).round()).abs().max() < 1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
@pytest.mark.parametrize("levels", [255, 16])
@pytest.mark.parametrize("epsilon", [8 / 255, 0.1, 0.3, 1.0])
def test_inside_ball_and_box_on_the_grid(norm: str, levels: int, epsilon: float) -> None:
    generator = torch.Generator().manual_seed(levels)
    x = (torch.rand(200, 3, 4, 4, generator=generator) * levels).round() / levels
    x[:20], x[20:40] = 0, 1
    change = torch.randn(200, 3, 4, 4, generator=generator)
    if norm == "linf":
        change = change.sign() * epsilon
    elif norm == "l2":
        change = change * (epsilon / change.flatten(1).norm(dim=1))[:, None, None, None]
    else:
        epsilon = 5.0
        change[(torch.rand(200, 1, 4, 4, generator=generator) > 0.2).expand_as(change)] = 0
    rounded = round_inside(x + change, x, norm=norm, epsilon=epsilon, levels=levels)
    assert on_grid(rounded, levels)
    assert float(rounded.min()) >= 0
    assert float(rounded.max()) <= 1
    far = (rounded.double() - x.double()).flatten(1)
    measured = {"linf": far.abs().amax(1), "l2": far.norm(dim=1)}.get(
        norm, (far.view(200, 3, 16) != 0).any(1).sum(1).double()
    )
    kept = measured <= epsilon * (1 + 1e-6)
    if norm == "l0":  # an l0 candidate may change too many pixels; it is not moved to others
        kept |= (change != 0).any(1).flatten(1).sum(1) > epsilon
    assert kept.all()


def test_nearest_grid_point_inside_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    levels, epsilon = 16, 0.11
    points = torch.tensor(list(itertools.product(range(levels + 1), repeat=2))).double() / levels
    for _ in range(60):
        x = (torch.rand(1, 1, 1, 2, generator=generator) * levels).round() / levels
        candidate = (x + (2 * torch.rand(x.shape, generator=generator) - 1) * epsilon).clamp(0, 1)
        found = round_inside(candidate, x, norm="linf", epsilon=epsilon, levels=levels)
        near = points[((points - x.double().view(1, 2)).abs() <= epsilon * (1 + 1e-6)).all(1)]
        best = (near - candidate.double().view(1, 2)).norm(dim=1).min()
        assert float((found.double() - candidate.double()).norm()) <= float(best) + 1e-6


def test_l2_candidates_at_the_boundary_stay_near_it() -> None:
    generator = torch.Generator().manual_seed(2)
    x = (torch.rand(300, 1, 8, 8, generator=generator) * 0.5 * 255 + 60).round() / 255
    change = torch.randn(x.shape, generator=generator)
    change *= (1.0 / change.flatten(1).norm(dim=1))[:, None, None, None]
    rounded = round_inside(x + change, x, norm="l2", epsilon=1.0, levels=255)
    far = distance(rounded, x, "l2")
    assert float(far.max()) <= 1 + 1e-6
    assert float(far.median()) >= 0.99
    assert float(far.min()) >= 0.9


def test_whole_steps_are_kept_exactly() -> None:
    """8/255 is eight steps, whatever the rounding of floats; 0.2 of sixteen levels is three."""
    x = torch.arange(256.0)[None, None, None] / 255
    for steps in range(1, 256):
        moved = round_inside((x + steps / 255).clamp(0, 1), x, norm="linf", epsilon=steps / 255, levels=255)
        expected = torch.clamp(torch.arange(256) + steps, max=255)
        assert torch.equal((moved * 255).round().long().flatten(), expected)
    sixteen = round_inside(torch.tensor([[0.2]]), torch.tensor([[0.0]]), norm="linf", epsilon=0.2, levels=16)
    assert float(sixteen) == 3 / 16


def test_no_grid_changes_nothing_and_infinite_epsilon_only_rounds() -> None:
    candidate = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x = to_levels(candidate.flip(0), 255)
    assert round_inside(candidate, x, norm="linf", epsilon=0.1, levels=None) is candidate
    for norm in ("linf", "l2", "l1", "l0", "patch"):
        rounded = round_inside(candidate, x, norm=norm, epsilon=float("inf"), levels=255)
        np.testing.assert_allclose(rounded, to_levels(candidate, 255), atol=1e-7)


def test_inside_refuses_what_is_not_finite_or_out_of_the_box() -> None:
    x = torch.full((5, 1, 1, 2), 0.5)
    bad = x.clone()
    bad[0, 0, 0, 0], bad[1, 0, 0, 0], bad[2, 0, 0, 0], bad[3, 0, 0, 0] = float("nan"), float("inf"), -1e-3, 0.61
    for norm, epsilon in (("linf", 0.1), ("l2", 0.1)):
        assert inside(bad, x, norm, epsilon).tolist() == [False, False, False, False, True]
    assert inside(bad, x, "linf", float("inf")).tolist() == [False, False, False, True, True]
    with pytest.raises(ValueError, match="linf, l2, l1, l0 or patch, not 'l3'"):
        distance(bad, x, "l3")


def test_l0_counts_pixels_not_channels() -> None:
    x = torch.zeros(1, 3, 2, 2)
    changed = x.clone()
    changed[0, :, 0, 0] = 1
    changed[0, 1, 1, 1] = 0.5
    assert distance(changed, x, "l0").tolist() == [2.0]


def test_a_patch_is_as_long_as_the_rectangle_round_the_changed_pixels() -> None:
    generator = torch.Generator().manual_seed(7)
    x = torch.rand(100, 3, 6, 9, generator=generator)
    changed = torch.rand(100, 3, 6, 9, generator=generator) < torch.rand(100, 1, 1, 1, generator=generator) ** 4
    candidate = torch.where(changed, 1 - x, x)
    sides = []
    for image in changed.any(
        1
    ).numpy():  # by search: the smallest square window, anywhere, with no change outside of it
        padded = np.pad(image, ((9, 9), (9, 9)))
        windows = ((side, row, column) for side in range(10) for row, column in itertools.product(range(18), range(18)))
        sides.append(next(s for s, r, c in windows if padded[r : r + s, c : c + s].sum() == image.sum()))
    assert set(sides) == set(range(10))
    assert distance(candidate, x, "patch").tolist() == sides
    assert inside(candidate, x, "patch", 4.0).tolist() == [side <= 4 for side in sides]


def test_a_patch_in_inputs_of_one_or_two_axes() -> None:
    flat = torch.zeros(4, 7)
    flat[1, 3], flat[2, 1:6:4], flat[3] = 1, 1, 1
    assert distance(flat, torch.zeros(4, 7), "patch").tolist() == [0, 1, 5, 7]
    signals = flat[:, None].expand(-1, 2, -1)
    assert distance(signals, torch.zeros(4, 2, 7), "patch").tolist() == [0, 1, 5, 7]


@pytest.mark.parametrize("levels", [255, 16])
def test_rounding_changes_no_pixel_outside_a_patch(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    x = to_levels(torch.rand(100, 3, 8, 8, generator=generator), levels)
    candidate = x.clone()
    candidate[:, :, 2:7, 1:5] = torch.rand(100, 3, 5, 4, generator=generator)
    rounded = round_inside(candidate, x, norm="patch", epsilon=5.0, levels=levels)
    assert on_grid(rounded, levels)
    assert inside(rounded, x, "patch", 5.0).all()
    assert float((rounded - candidate).abs().max()) <= 0.5 / levels + 1e-6
    assert torch.equal(rounded[:, :, 7:], x[:, :, 7:])
