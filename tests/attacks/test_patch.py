"""Where patches may stand: sixteen places for everybody, rectangles, masks from files, and what does not fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from attacks._patch import Patch, Places, somewhere, spread
from harness.rounding import distance

IMAGES = torch.zeros(2, 3, 28, 28)


def corner(mask):
    rows, columns = mask[0].any(1).nonzero()[:, 0], mask[0].any(0).nonzero()[:, 0]
    return int(rows[0]), int(columns[0]), len(rows), len(columns)


def test_sixteen_places_from_end_to_end():
    masks = Places().masks(IMAGES, 5.0)
    places = [corner(mask) for mask in masks]
    assert places == [(row, column, 5, 5) for row, column in itertools.product((0, 8, 15, 23), repeat=2)]
    assert masks.sum() == 16 * 25


@pytest.mark.parametrize(("room", "number"), [(0, 4), (1, 4), (2, 4), (3, 4), (23, 4), (220, 7), (5, 16)])
def test_steps_are_equal_to_a_pixel(room, number):
    exact = np.linspace(0, room, number)
    assert spread(room, number) == sorted({int(np.floor(place + 0.5)) for place in exact})


def test_places_of_a_larger_patch_hold_those_of_a_smaller_one():
    for whole in (8, 28, 32, 224):
        for small, large in itertools.combinations(range(1, min(whole, 40) - 3), 2):
            ends = zip(spread(whole - small, 4), spread(whole - large, 4), strict=True)
            assert all(b <= a and a + small <= b + large for a, b in ends)


def test_in_small_images_places_that_coincide_count_once():
    x = torch.zeros(1, 1, 8, 8)
    assert [len(Places().masks(x, float(side))) for side in (5, 6, 7, 8)] == [16, 9, 4, 1]
    assert corner(Places(positions=1).masks(x, 3.0)[0]) == (2, 2, 3, 3)


def test_a_rectangle_at_a_place_of_its_own():
    (mask,) = Places(height=2, width=4, row=3, column=20).masks(IMAGES, 4.0)
    assert corner(mask) == (3, 20, 2, 4)
    masks = Places(row=0, height=2).masks(IMAGES, 4.0)
    assert [corner(mask) for mask in masks] == [(0, column, 2, 4) for column in spread(24, 16)]


@pytest.mark.parametrize("ending", [".npy", ".png"])
def test_a_mask_from_a_file(tmp_path, ending):
    allowed = np.zeros((28, 28), dtype=np.uint8)
    allowed[4:9, 10:13] = 255
    allowed[5, 11] = 0
    path = tmp_path / f"mask{ending}"
    np.save(path, allowed) if ending == ".npy" else Image.fromarray(allowed).save(path)
    masks = Places(mask=path).masks(IMAGES, 5.0)
    assert masks.shape == (1, 1, 28, 28)
    assert np.array_equal(masks[0, 0].numpy(), allowed > 0)
    with pytest.raises(ValueError, match=r"lie in 5×3, which exceeds the side 4 of the budget"):
        Places(mask=path).masks(IMAGES, 4.0)
    with pytest.raises(ValueError, match=r"is 28×28, but the images are 8×8"):
        Places(mask=path).masks(torch.zeros(1, 1, 8, 8), 5.0)


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        (np.zeros((28, 28)), "mask.npy", "some of them not zero"),
        (np.ones((3, 28, 28)), "mask.npy", r"holds \(3, 28, 28\) values; expected \(H, W\)"),
        (np.ones((28, 28)), "mask.txt", "read as .npy or .png only"),
    ],
)
def test_bad_masks(tmp_path, values, name, words):
    np.save(tmp_path / "mask.npy", values)
    (tmp_path / "mask.npy").rename(tmp_path / name)
    with pytest.raises(ValueError, match=words):
        Places(mask=tmp_path / name).masks(IMAGES, 28.0)


@pytest.mark.parametrize(
    ("places", "epsilon", "words"),
    [
        ({}, 29.0, "a patch of 29×29 pixels is larger than the image of 28×28"),
        ({"height": 6}, 5.0, "6×5 pixels exceeds the side 5 that the budget allows"),
        ({"row": 24}, 5.0, "5×5 pixels at row 24 leaves the image of 28×28"),
        ({"row": 0, "column": 24}, 5.0, "at column 24 leaves"),
    ],
)
def test_what_does_not_fit(places, epsilon, words):
    with pytest.raises(ValueError, match=words):
        Places(**places).masks(IMAGES, epsilon)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"positions": 15}, "positions = 15; expected a square number, .* such as 16"),
        ({"positions": 0}, "positions = 0; expected at least 1"),
        ({"width": 0}, "width = 0; expected at least 1"),
        ({"row": -1}, "row = -1; expected at least 0"),
        ({"mask": "m.png", "row": 1, "height": 2}, "a mask and height, row; the mask says it all"),
    ],
)
def test_what_makes_no_sense(places, words):
    with pytest.raises(ValueError, match=words):
        Places(**places)


def test_patches_need_images():
    with pytest.raises(ValueError, match=r"images \(B, C, H, W\), but the inputs are \(2, 64\)"):
        Places().masks(torch.zeros(2, 64), 3.0)


def test_the_feasible_set(draws):
    x = torch.rand(64, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    patch = somewhere(x, 3.0, draws)
    assert len({corner(mask) for mask in patch.mask}) == 16
    wild = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) * 3
    inside = patch.project(wild.clone())
    assert distance(inside, x, "patch").max() == 3
    assert torch.equal(inside, torch.where(patch.mask, wild.clamp(0, 1), x))
    assert torch.equal(patch.project(inside.clone()), inside)
    assert torch.equal(patch.direction(wild), wild.sign() * patch.mask)
    start = patch.start(draws)
    assert torch.equal(start == x, ~patch.mask.expand_as(x))
    rows = torch.tensor([7, 2])
    assert torch.equal(patch[rows].start(draws[rows]), start[rows])
    assert isinstance(patch[rows], Patch)
