"""Images of a blob: closed forms, and its angle and width read back from a fitted manifold."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from geometry.manifolds.conformally_invariant_diffusion_map import ConformallyInvariantDiffusionMap
from harness.datasets._parts import PARTS
from harness.datasets.blobs import Blobs


def test_parts_hold_every_image_once():
    splits = [Blobs().split(part) for part in PARTS]
    values = torch.cat([Blobs().parameters(part) for part in PARTS])
    assert [len(split) for split in splits] == [405, 135, 180, 180]
    assert len(values.unique(dim=0)) == 900
    assert torch.equal(torch.cat([split.index for split in splits]).sort().values, torch.arange(900))
    assert torch.equal(torch.cat([split.y for split in splits]), (values[:, 0] // 90).long())
    for part, split in zip(PARTS, splits, strict=True):
        assert torch.equal(split.x, Blobs().render(Blobs().parameters(part)))
        assert split.levels is None


def test_an_image_is_a_gaussian_at_its_place():
    """Its integral, mean and variance are those of the density, up to what the edge cuts off."""
    image = Blobs(size=32).render(torch.tensor([[30.0, 2.0]], dtype=torch.float64))[0, 0]
    place = torch.arange(32, dtype=torch.float64) - 15.5
    mean_x, mean_y = (image.sum(0) @ place) / image.sum(), (image.sum(1) @ place) / image.sum()
    assert float(image.sum()) == pytest.approx(8 * torch.pi, rel=1e-5)
    assert float(mean_x) == pytest.approx(4 * 3**0.5 / 2, rel=1e-4)
    assert float(mean_y) == pytest.approx(-2, rel=1e-4)
    assert float(image.sum(0) @ (place - mean_x) ** 2 / image.sum()) == pytest.approx(4, rel=1e-4)


def test_labels_are_recovered_by_extension():
    """Mahler et al. 2024 as specified: relative error .013, angle within .01 degree, width within .01 pixels."""
    whole = SimpleNamespace(x=torch.cat([Blobs().split(part).x for part in PARTS]))
    angle, width = torch.cat([Blobs().parameters(part) for part in PARTS]).double().T
    described = ConformallyInvariantDiffusionMap(eigenfunctions=150, neighbors=12, dim=2)
    manifold = described.load(described.fit(whole))
    between = torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    between = between * torch.tensor([360.0, 1.0]) + torch.tensor([0.0, 1.5])
    x = Blobs().render(between)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = (manifold.project(x) - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    turn = torch.deg2rad(angle)
    cosine, sine, found = manifold.extension(torch.stack([turn.cos(), turn.sin(), width], dim=1))(x).T
    off = (torch.rad2deg(torch.atan2(sine, cosine)) - between[:, 0] + 180) % 360 - 180
    assert float(error.mean()) < 0.013
    assert float(off.abs().mean()) < 0.01
    assert float((found - between[:, 1]).abs().mean()) < 0.01


def test_the_seed_fixes_the_parts():
    assert torch.equal(Blobs(seed=1).split("test").index, Blobs(seed=1).split("test").index)
    assert not torch.equal(Blobs(seed=1).split("test").index, Blobs().split("test").index)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"angles": 0}, "angles is 0"),
        ({"angles": 3, "widths": 3}, "at least 10"),
        ({"widths": -1}, "widths is -1"),
        ({"width": (0.0, 2.0)}, "width is .* 0 < from"),
        ({"width": (3.0, 2.0)}, "width is"),
        ({"distance": 9.0}, "distance is 0 to 8 pixels"),
        ({"distance": float("nan")}, "distance is"),
        ({"size": 2}, "size is 2"),
    ],
)
def test_what_makes_no_images_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Blobs(**given).split("test")
