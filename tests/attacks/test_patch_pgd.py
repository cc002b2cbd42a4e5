"""Patches: the closed form of a linear model, the worst of the places, survivors, detectors, Nesterov's look ahead."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from attacks._loss import cross_entropy as each_cross_entropy
from attacks._patch import Patch, Places
from attacks._patch_search import Falling, NesterovAscent
from attacks._search import Best, Search, Standing, steepest
from attacks.grey_patch import GreyPatch
from attacks.noise import Noise
from attacks.patch_nag import PatchNAG
from attacks.patch_pgd import PatchPGD
from harness.craft import _checked
from harness.draws import CounterDraws
from harness.gradients import Count, counted
from harness.rounding import distance
from harness.system import ContractError
from harness.types import Budget, Outputs, View

BOTH = pytest.mark.parametrize("attack", [PatchPGD(), PatchNAG()], ids=["pgd", "nag"])


def watched(network, *, early_exit=False):
    """A view, and the count of what it is asked."""
    view, count = View.of(network, early_exit=early_exit), Count()
    return replace(view, forward=counted(view.forward, count)), count


class Plane(torch.nn.Module):
    """Two classes whose margin is linear in the image."""

    def __init__(self, w):
        super().__init__()
        self.w = w

    def forward(self, x):
        value = (x * self.w).flatten(1).sum(1)
        return torch.stack([-value / 2, value / 2], 1)


@BOTH
def test_each_pixel_of_a_fixed_patch_goes_to_the_end_of_the_box_that_its_weight_wants(linear, draws, attack):
    x, y = torch.rand(8, 1, 3, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(8, dtype=torch.long)
    fixed = replace(attack, height=2, width=3, row=1, column=0)
    attacked = fixed.perturb(View.of(linear), x, y, Budget("patch", 3.0), draws[torch.arange(8)])
    best = x.clone()
    best[:, 0, 1:, :3] = (linear.w.view(3, 4)[1:, :3] > 0).float()
    assert torch.equal(attacked, best)


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
def test_finds_the_best_of_all_places(draws, attack, channels):
    generator = torch.Generator().manual_seed(channels)
    x, w = torch.rand(64, channels, 12, 11, generator=generator), torch.randn(channels, 12, 11, generator=generator)
    network, y = Plane(w), torch.zeros(64, dtype=torch.long)
    attacked = attack.perturb(View.of(network), x, y, Budget("patch", 4.0), draws)
    candidates = []
    for row in (0, 3, 5, 8):
        for column in (0, 2, 5, 7):
            candidate = x.clone()
            candidate[:, :, row : row + 4, column : column + 4] = (w[:, row : row + 4, column : column + 4] > 0).float()
            candidates.append(candidate)
    gains = torch.stack([network(candidate)[:, 1] for candidate in candidates])
    assert len(set(gains.argmax(0).tolist())) > 4
    assert torch.allclose(network(attacked)[:, 1], gains.amax(0), atol=1e-5)
    assert distance(attacked, x, "patch").max() == 4


def test_as_strong_as_every_place_searched_to_the_end_for_the_same(digits, draws):
    network, x, y = digits
    losses, counts = [], []
    for attack in (PatchPGD(steps=24), PatchPGD(steps=12, kept=16)):
        view, count = watched(network)
        attacked = attack.perturb(view, x, y, Budget("patch", 2.0), draws)
        losses.append(cross_entropy(network(attacked), y, reduction="none"))
        counts.append(count.backwards)
    assert counts[0] == counts[1]
    assert (losses[0] - losses[1]).mean() > -0.01


def test_passes_are_those_of_the_rounds(digits, draws):
    network, x, y = digits
    view, count = watched(network)
    PatchPGD(steps=8).perturb(view, x, y, Budget("patch", 3.0), draws)
    assert (count.forwards, count.backwards) == (len(x) * (16 * 3 + 4 * 9), len(x) * (16 * 2 + 4 * 8))
    view, count = watched(network)
    PatchPGD(steps=8, row=0, column=0).perturb(view, x, y, Budget("patch", 3.0), draws)
    assert (count.forwards, count.backwards) == (len(x) * 9, len(x) * 8)


@BOTH
def test_survivors_only_where_success_is_all_that_counts(digits, draws, attack):
    network, x, y = digits
    broken, counts = [], []
    for early_exit in (False, True):
        view, count = watched(network, early_exit=early_exit)
        attacked = replace(attack, steps=12, restarts=2).perturb(view, x, y, Budget("patch", 2.0), draws)
        broken.append(network(attacked).argmax(1) != y)
        counts.append(count.forwards)
    assert (broken[1] == broken[0]).float().mean() > 0.95
    assert broken[0].float().mean() > 0.3
    assert counts[1] < 0.7 * counts[0]


def test_restarts_only_gain(digits, draws):
    network, x, y = digits
    view, losses = View.of(network), []
    for restarts in (1, 3):
        attack = PatchPGD(steps=4, kept=1, restarts=restarts, loss="margin")
        logits = network(attack.perturb(view, x, y, Budget("patch", 2.0), draws))
        own = logits.gather(1, y[:, None])[:, 0]
        losses.append(logits.scatter(1, y[:, None], -torch.inf).amax(1) - own)
    assert (losses[1] >= losses[0] - 1e-5).all()
    assert (losses[1] > losses[0] + 1e-3).any()


def test_beats_grey_and_noise_at_the_same_places(digits, draws):
    network, x, y = digits
    view, budget = View.of(network), Budget("patch", 2.0)
    broken = [
        (network(attack.perturb(view, x, y, budget, draws)).argmax(1) != y).float().mean()
        for attack in (GreyPatch(), Noise(repeats=16), PatchPGD(steps=12))
    ]
    assert broken[2] > max(broken[:2]) + 0.1


def test_without_momentum_both_are_one(digits, draws):
    network, x, y = digits
    view, budget = View.of(network), Budget("patch", 3.0)
    one, other = (kind(steps=6, momentum=0.0).perturb(view, x, y, budget, draws) for kind in (PatchPGD, PatchNAG))
    assert torch.equal(one, other)


def test_nesterov_is_equations_six_and_seven(digits):
    """Over the whole image, from the clean one, beside the equations in double precision."""
    network, x, y = digits
    network, x = deepcopy(network).double(), (x * 0.5 + 0.25).double()
    size, momentum, steps, seen = 0.01, 0.8, 9, []
    expected, velocity = x.clone(), torch.zeros_like(x)
    for _ in range(steps):
        ahead = (expected + size * momentum * velocity).requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(network(ahead), y, reduction="sum"), ahead)
        velocity = momentum * velocity + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
        expected = (expected + size * velocity.sign()).clamp(0, 1)

    def forward(z, _):
        seen.append(z.detach().clone())
        return Outputs(network(z))

    view = View(decide=None, fooled=None, forward=forward, early_exit=False)
    rule, rows = NesterovAscent(Falling(size, size), steps, momentum), torch.arange(len(x))
    whole = Patch(x, 8.0, torch.ones(len(x), 1, 8, 8, dtype=torch.bool))
    best = Best.of(x)
    everybody = Standing(rows, y, y, whole, CounterDraws("nesterov", rows), x, best)
    Search(view, forward, steepest(each_cross_entropy), rule, steps).run(everybody[rows], best)
    assert torch.allclose(seen[-1], expected, atol=1e-12)
    assert len(seen) == steps + 1


def test_steps_fall_from_the_first_to_the_last():
    sizes = [Falling(1.0, 0.01)(step, 5) for step in range(5)]
    assert np.allclose(sizes, np.geomspace(1, 0.01, 5))
    assert Falling(0.3, 0.1)(0, 1) == 0.3


@BOTH
def test_through_a_detector(digits, draws, detecting, attack):
    _, x, y = digits
    bright = x.clone()
    bright[:, :, ::7, ::7] = 0.35  # every clean input is rejected; a corner must be darkened too
    budget, fooled = Budget("patch", 4.0), []
    for weight in (0.0, 1.0):
        attacked = replace(attack, steps=12, weight=weight).perturb(detecting, bright, y, budget, draws)
        fooled.append(detecting.forward(attacked, draws).fooled(y).float().mean())
    assert not detecting.forward(bright, draws).fooled(y).any()
    assert fooled[1] > max(0.5, fooled[0] - 0.05)


def test_only_pixels_of_the_mask_change(digits, draws, tmp_path):
    network, x, y = digits
    allowed = np.zeros((8, 8), dtype=bool)
    allowed[[1, 2, 2, 3], [2, 1, 3, 2]] = True
    np.save(tmp_path / "ring.npy", allowed)
    attack = PatchPGD(steps=6, mask=tmp_path / "ring.npy")
    attacked = attack.perturb(View.of(network), x, y, Budget("patch", 3.0), draws)
    assert np.array_equal((attacked != x).any(0)[0].numpy(), allowed)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kept": 0}, "kept = 0; expected at least 1"),
        ({"positions": 3}, "expected a square number"),
        ({"step_size": 0.0}, "step sizes from 0.0 to 0.02 were given; expected numbers above 0"),
    ],
)
@pytest.mark.parametrize("kind", [PatchPGD, PatchNAG])
def test_bad_parameters(kind, values, words):
    with pytest.raises(ValueError, match=words):
        kind(**values)


@pytest.mark.parametrize("attack", [PatchPGD(), PatchNAG(), GreyPatch(), Noise()])
def test_a_patch_larger_than_the_image(digits, draws, attack):
    network, x, y = digits
    with pytest.raises(ValueError, match="a patch of 9×9 pixels is larger than the image of 8×8"):
        attack.perturb(View.of(network), x, y, Budget("patch", 9.0), draws)


def test_the_harness_rejects_what_lies_outside_one_rectangle():
    x, budget = torch.full((3, 1, 8, 8), 128 / 255), Budget("patch", 3.0)
    given = x.clone()
    given[:, :, 2:5, 4:7] = 1
    assert torch.equal(_checked(given, x, budget, 255, "wide"), given)
    given[1, 0, 1, 5] += 1e-3
    with pytest.raises(ContractError, match=r"on 1 of 3 inputs: largest patch distance 4 with epsilon 3"):
        _checked(given, x, budget, 255, "wide")


def test_grey_stands_where_it_fools_first(digits, draws):
    network, x, y = digits
    view, budget = View.of(network), Budget("patch", 4.0)
    covered = GreyPatch(value=1.0).perturb(view, x, y, budget, draws)
    masks = Places().masks(x, 4.0)
    everywhere = torch.stack([network(torch.where(mask, 1.0, x)).argmax(1) != y for mask in masks])
    assert torch.equal(network(covered).argmax(1) != y, everywhere.any(0))
    first = torch.where(everywhere.any(0), everywhere.float().argmax(0), len(masks) - 1)
    assert torch.equal(covered, torch.where(masks[first], 1.0, x))
    with pytest.raises(ValueError, match="value = 2; expected 0"):
        GreyPatch(value=2)
