"""Clothing turned and scaled: against quarter turns and scipy, from a small copy of the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from harness.datasets._parts import PARTS
from harness.datasets.rotated_fashion import RotatedFashion, warped


@pytest.fixture(autouse=True)
def _data(tmp_path, monkeypatch):
    """400 images of noise, each class 40 times."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    (tmp_path / "FashionMNIST").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (400, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "FashionMNIST" / "train-few.npz", x=x, y=(np.arange(400) % 10).astype(np.uint8))


SMALL = RotatedFashion(images=100)


def test_parts_hold_every_image_once():
    splits = [SMALL.split(part) for part in PARTS]
    assert torch.equal(torch.cat([split.index for split in splits]).sort().values, torch.arange(100))
    assert all(torch.equal(split.y, split.index % 10) for split in splits)
    values = torch.cat([SMALL.parameters(part) for part in PARTS])
    assert bool(((values[:, 0].abs() <= 45) & (values[:, 1] >= 0.7) & (values[:, 1] <= 1)).all())
    assert torch.all(values.std(0) > torch.tensor([20.0, 0.06]))


def test_parameters_make_the_images_again():
    for part in PARTS:
        split = SMALL.split(part)
        assert float((SMALL.render(split.index, SMALL.parameters(part)) - split.x).abs().max()) < 0.51 / 255


def test_one_item_makes_one_class():
    chosen = RotatedFashion(items=1, images=20)
    assert torch.cat([chosen.split(part).y for part in PARTS]).unique().tolist() == [0]
    assert chosen.split("test").num_classes == len(chosen.class_names) == 10


def test_quarter_turns_move_pixels_alone():
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    angles = torch.tensor([0.0, 90.0, 180.0, -90.0])
    found = warped(x, torch.stack([angles, torch.ones(4)], dim=1))
    expected = torch.stack([x[0], x[1].rot90(1, (1, 2)), x[2].rot90(2, (1, 2)), x[3].rot90(-1, (1, 2))])
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("angle", "scale"), [(30.0, 0.8), (-100.0, 1.3), (0.0, 0.5)])
def test_pixels_are_those_of_scipy(angle, scale):
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    turn = np.deg2rad(angle)
    rows_and_columns = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    offset = 13.5 - rows_and_columns @ np.array([13.5, 13.5])
    expected = ndimage.affine_transform(
        np.pad(x[0, 0].numpy(), 20),
        rows_and_columns,
        offset=offset + 20 - rows_and_columns @ np.array([20, 20]),
        order=1,
    )[20:-20, 20:-20]
    assert np.allclose(warped(x, torch.tensor([[angle, scale]]))[0, 0], expected, atol=1e-4)


def test_the_seed_fixes_images():
    assert torch.equal(
        RotatedFashion(images=100, seed=1).split("fit").x, RotatedFashion(images=100, seed=1).split("fit").x
    )
    assert not torch.equal(RotatedFashion(images=100, seed=1).parameters("fit"), SMALL.parameters("fit"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"items": 0}, "items is 0"),
        ({"items": 300}, "only .* originals"),
        ({"images": 9}, "images is 9"),
        ({"angles": (5.0, 0.0)}, "angles is"),
        ({"scales": (0.0, 1.0)}, "scales is .* 0 < from"),
        ({"scales": (1.0, float("inf"))}, "scales is"),
    ],
)
def test_what_makes_no_images_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        RotatedFashion(**given).split("test")
