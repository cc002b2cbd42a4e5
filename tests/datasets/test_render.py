"""The renderer against ray casting and closed forms, and the meshes it is used on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.datasets import _render
from harness.datasets._render import Mesh, render
from harness.datasets._vehicles import VEHICLES, block, mesh

SAMPLES = 48


def cast(framed, azimuth, look_down):
    """The nearest triangle by Moeller and Trumbore along a ray through each sample, plus one; 0 where there is none."""
    a, e = np.deg2rad(azimuth), np.deg2rad(look_down)
    toward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0])
    up = np.cross(toward, right)
    half = _render._MARGIN * np.tan(np.arcsin(1 / _render._DISTANCE))
    place = ((np.arange(SAMPLES) + 0.5) / SAMPLES * 2 - 1) * half
    rays = place[None, :, None] * right - place[:, None, None] * up - toward
    first, side, other = framed[:, 0], framed[:, 1] - framed[:, 0], framed[:, 2] - framed[:, 0]
    cross = np.cross(rays[:, :, None], other)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / (cross * side).sum(-1)
        start = _render._DISTANCE * toward - first
        u = (cross * start).sum(-1) * inverse
        turned = np.cross(start, side)
        v = (rays[:, :, None] * turned).sum(-1) * inverse
        t = (turned * other).sum(-1) * inverse
    t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
    return np.where(np.isfinite(t.min(-1)), t.argmin(-1) + 1, 0)


@pytest.mark.parametrize("name", VEHICLES)
def test_the_nearest_triangle_is_seen(name):
    """Rays meet triangles from both sides: the meshes are closed, too."""
    framed = mesh(name).framed()
    palette = torch.cat([torch.zeros(1, 3), mesh(name).shaded()])
    views = torch.tensor([[20.0, 5.0], [130.0, 30.0], [290.0, 60.0]])
    ours = _render._visible(_render._seen(framed, *views.T), SAMPLES)
    for ids, (azimuth, look_down) in zip(ours, views.tolist(), strict=True):
        expected = torch.from_numpy(cast(framed.numpy(), azimuth, look_down))
        differs = (palette[ids] - palette[expected]).abs().amax(-1) > 1e-6
        assert int(differs.sum()) <= 2


def cube():
    faces = block((-1, 1), (-1, 1), (-1, 1), (1.0, 1.0, 1.0))
    return Mesh(torch.tensor([corners for corners, _ in faces]), torch.tensor([color for _, color in faces]))


@pytest.mark.parametrize("azimuth", [0.0, 90.0, 180.0, 270.0])
def test_a_cube_from_the_front_covers_a_square(azimuth):
    side = 3**-0.5
    expected = (side / (4 - side) / (_render._MARGIN / 15**0.5)) ** 2
    covered = render(cube(), torch.tensor([azimuth]), torch.zeros(1), size=64)[:, 3]
    assert abs(float(covered.mean()) - expected) < 0.01


def test_faces_away_from_all_lights_have_the_ambient_light_alone():
    shaded = cube().shaded()[:, 0]
    below, above = shaded[:2], shaded[2:4]
    sun = torch.nn.functional.normalize(torch.tensor(_render._LIGHTS[0][1]), dim=0)
    sky = torch.nn.functional.normalize(torch.tensor(_render._LIGHTS[1][1]), dim=0)
    assert torch.allclose(below, torch.full((2,), _render._AMBIENT))
    assert torch.allclose(above, _render._AMBIENT + 0.6 * sun[2] + 0.2 * sky[2])


@pytest.mark.parametrize("name", VEHICLES)
def test_silhouettes_are_mirrored_with_the_azimuth(name):
    views = torch.tensor([[20.0, 5.0], [130.0, 30.0], [75.0, 44.0]])
    left = render(mesh(name), views[:, 0], views[:, 1], size=32)[:, 3]
    right = render(mesh(name), -views[:, 0], views[:, 1], size=32)[:, 3].flip(2)
    assert float((left - right).abs().mean()) < 1e-4
    assert float((left - left.flip(2)).abs().mean()) > 1e-2


@pytest.mark.parametrize("name", VEHICLES)
def test_the_whole_vehicle_is_in_the_picture(name):
    views = torch.cartesian_prod(torch.arange(0.0, 360.0, 30.0), torch.tensor([0.0, 45.0, 90.0]))
    covered = render(mesh(name), views[:, 0], views[:, 1], size=64)[:, 3]
    edge = covered.clone()
    edge[:, 1:-1, 1:-1] = 0
    assert float(edge.max()) == 0
    assert float(covered.max()) == pytest.approx(1)
    assert float(covered.mean((1, 2)).min()) > 0.08
