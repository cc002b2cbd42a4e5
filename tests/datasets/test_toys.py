"""Toy sets: on their manifolds, labelled as their rules say, uniform."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from geometry.manifolds.circle import Circle
from geometry.manifolds.plane import Plane
from harness import api
from harness.datasets._parts import PARTS
from harness.datasets.toy_circle import ToyCircle
from harness.datasets.toy_plane import ToyPlane


def whole(dataset):
    splits = [dataset.split(part) for part in PARTS]
    assert torch.equal(torch.cat([split.index for split in splits]).sort().values, torch.arange(dataset.points))
    x, y = (torch.cat([getattr(split, name) for split in splits]) for name in ("x", "y"))
    return x, y, torch.cat([dataset.parameters(part) for part in PARTS])


@pytest.mark.parametrize("boundary", ["single", "double"])
def test_circle(boundary):
    x, y, angle = whole(ToyCircle(boundary))
    assert float(Circle(0.4, (0.5, 0.5)).load({}).distance(x).max()) < 1e-6
    turn = torch.deg2rad(angle[:, 0])
    assert torch.allclose(x - 0.5, 0.4 * torch.stack([turn.cos(), turn.sin()], 1), atol=1e-6)
    sides = (angle[:, 0] + 90) // (180 if boundary == "single" else 90) % 2
    assert torch.equal(y, sides.long() if boundary == "double" else 1 - sides.long())
    assert stats.kstest(angle[:, 0].numpy() / 360, "uniform").pvalue > 0.01


@pytest.mark.parametrize("boundary", ["single", "double"])
def test_plane(boundary):
    x, y, place = whole(ToyPlane(boundary))
    assert float(Plane(0.4, 0.5, 0.5).load({}).distance(x).max()) < 1e-6
    assert torch.allclose((x[:, :2] - 0.5) / 0.4 * torch.pi, place, atol=1e-5)
    score = place[:, 0] - torch.sin(place[:, 1])
    assert torch.equal(y, (score * (place[:, 1] if boundary == "double" else 1) > 0).long())
    for column in place.T:
        assert stats.kstest((column.numpy() / torch.pi + 1) / 2, "uniform").pvalue > 0.01


@pytest.mark.parametrize("dataset", [ToyCircle, ToyPlane])
def test_what_is_no_toy_is_refused(dataset):
    with pytest.raises(ValueError, match="single, double, not 'triple'"):
        dataset("triple").split("test")
    with pytest.raises(ValueError, match="points is 9"):
        dataset(points=9).split("test")
    assert not torch.equal(dataset(seed=1).parameters("test"), dataset().parameters("test"))


def test_points_are_attacked_and_recorded_without_pictures(tmp_path):
    grid = {
        "name": "toy",
        "datasets": [{"toy_circle": {"points": 200}}],
        "victims": [{"mlp": {"epochs": 1, "width": 16}}],
        "defenses": ["none"],
        "attacks": ["fgsm"],
        "threats": [{"norm": "l2", "epsilons": [0.2], "knowledge": ["adaptive"]}],
    }
    result = api.run(grid, home=tmp_path, executor="serial", track=False)
    assert not result.progress.failed
    assert (
        result.records[0]["metrics"]["robust_accuracy"]["value"]
        < result.records[0]["metrics"]["clean_accuracy"]["value"]
    )
    assert result.records[0]["gallery"] == []
