"""Pictures of vehicles: what they are made from, how they change with it, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.datasets._parts import PARTS
from harness.datasets.rendered_vehicles import RenderedVehicles

SMALL = RenderedVehicles(images=140, size=32)


def test_parts_hold_every_picture_once():
    splits = [SMALL.split(part) for part in PARTS]
    assert [len(split) for split in splits] == [63, 21, 28, 28]
    assert torch.equal(torch.cat([split.index for split in splits]).sort().values, torch.arange(140))
    assert torch.equal(torch.cat([split.y for split in splits]).bincount(), torch.full((7,), 20))
    assert splits[0].x.shape[1:] == (3, 32, 32)
    assert SMALL.files() == ()
    assert SMALL.vehicles == SMALL.class_names


def test_parameters_make_the_pictures_again():
    for part in PARTS:
        split, values = SMALL.split(part), SMALL.parameters(part)
        assert values.shape == (len(split), len(SMALL.parameter_names))
        assert float((SMALL.render(split.y, values) - split.x).abs().max()) < 0.51 / 255


def test_views_are_uniform_in_their_ranges():
    chosen = RenderedVehicles(azimuths=(80, 120), look_down=(10, 30), images=140, size=8)
    values = torch.cat([chosen.parameters(part) for part in PARTS])
    for column, (low, high) in zip(values.T, ((80, 120), (10, 30)), strict=True):
        assert low <= float(column.min()) < low + 2
        assert high - 2 < float(column.max()) <= high
        assert abs(float(column.mean()) - (low + high) / 2) < 0.1 * (high - low)


def test_the_seed_fixes_pictures():
    again, other = (
        RenderedVehicles(images=140, size=32, background="plain"),
        RenderedVehicles(images=140, size=32, seed=1),
    )
    assert torch.equal(again.split("test").x, SMALL.split("test").x)
    assert not torch.equal(other.parameters("test"), SMALL.parameters("test"))


def test_steps_make_a_grid():
    chosen = RenderedVehicles(vehicles=("suv", "bus"), azimuths=(80, 84), look_down=(0, 4), step=0.5, size=8)
    found = torch.cat([torch.column_stack([chosen.split(p).y, chosen.parameters(p)]) for p in PARTS])
    assert len(found.unique(dim=0)) == len(found) == 2 * 9 * 9
    assert found[:, 0].unique().tolist() == [2, 5]
    assert chosen.split("test").num_classes == 7


@pytest.mark.parametrize("step", [30.0, 0.1])
def test_a_full_circle_meets_itself_once(step):
    chosen = RenderedVehicles(vehicles=("bus",), look_down=(20, 20), step=step, size=8)
    values = torch.cat([chosen.parameters(part) for part in PARTS])[:, 0]
    assert len(values) == round(360 / step)
    assert float(values.max()) < 360 - step / 2


def test_a_full_turn_changes_nothing():
    labels, views = torch.arange(7), torch.tensor([[0.0, 20.0]]).expand(7, 2)
    assert (
        float((SMALL.render(labels, views) - SMALL.render(labels, views + torch.tensor([360.0, 0.0]))).abs().max())
        < 1e-5
    )


def test_pictures_follow_small_changes():
    """Differences are in proportion to the angle from 1 to 4 degrees, but for the noise of the samples."""
    labels = torch.arange(7).repeat(8)
    views = torch.rand(56, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([360.0, 40.0])
    chosen = RenderedVehicles()
    at = chosen.render(labels, views)
    for column in (0, 1):
        turn = torch.eye(2)[column]
        sizes = [(chosen.render(labels, views + h * turn) - at).flatten(1).norm(dim=1).mean() for h in (0.01, 1, 2, 4)]
        assert sizes[0] < 0.1 * sizes[1]
        assert 1.5 < sizes[2] / sizes[1] < 2
        assert 1.5 < sizes[3] / sizes[2] < 2


def test_vehicles_differ():
    labels = torch.arange(7)
    for view in ([0.0, 0.0], [90.0, 20.0], [180.0, 45.0]):
        x = SMALL.render(labels, torch.tensor([view]).expand(7, 2)).flatten(1)
        assert float((torch.cdist(x, x) + 99 * torch.eye(7)).min()) > 2


def test_backgrounds_are_images(tmp_path, monkeypatch):
    from harness.datasets import rendered_vehicles

    gradient = torch.linspace(0, 1, 32).expand(20, 3, 32, 32)

    class Images:
        def files(self):
            return ()

        def split(self, part):
            return type("Split", (), {"x": gradient})

    monkeypatch.setattr(rendered_vehicles, "CIFAR10", Images)
    chosen = RenderedVehicles(images=140, size=32, background="images")
    plain, x = SMALL.split("test").x, chosen.split("test").x
    assert torch.equal(chosen.parameters("test"), SMALL.parameters("test"))
    corner = x[:, 0, 0, :].numpy()
    slopes = np.diff(corner, axis=1).mean(1)
    assert set(np.sign(slopes)) == {-1.0, 1.0}
    assert np.allclose(abs(slopes), 0.75 / 31, atol=5e-3)
    hidden = (plain - 0.95).abs().amax(1) > 0.7  # what is dark is seen of the vehicle and of nothing else
    assert float((x - plain).abs().amax(1)[hidden].max()) < 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vehicles": ("tank",)}, "vehicles are some of sedan, .*, not"),
        ({"vehicles": ()}, "each once"),
        ({"vehicles": ("bus", "bus")}, "each once"),
        ({"azimuths": (0, 400)}, "at most 360"),
        ({"azimuths": (10, 5)}, "azimuths is"),
        ({"azimuths": (0, float("nan"))}, "azimuths is"),
        ({"look_down": (-1, 5)}, "0 <= from <= to <= 90"),
        ({"look_down": (0, 91)}, "0 <= from <= to <= 90"),
        ({"step": 0.0}, "step is a positive"),
        ({"step": 30.0, "azimuths": (0, 30), "look_down": (0, 0), "vehicles": ("bus",)}, "at least 10"),
        ({"images": 9}, "images is 9"),
        ({"size": 4}, "size is 4"),
        ({"background": "beach"}, "plain, images, not 'beach'"),
    ],
)
def test_what_makes_no_pictures_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        RenderedVehicles(**given).split("test")


def test_no_fifth_part():
    with pytest.raises(ValueError, match="there is no part 'validation'"):
        SMALL.split("validation")
