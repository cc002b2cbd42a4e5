"""The study of Mahler et al. on small images and few points, its report and its pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from math import pi

import pytest
import torch

from geometry.manifolds.pca import PCA
from harness.datasets.rendered_vehicles import RenderedVehicles
from harness.draws import CounterDraws
from harness.spec import build, resolve
from harness.types import Spec
from leaderboard.papers import _mahler_circles as circles
from leaderboard.papers import _mahler_pictures
from leaderboard.papers._mahler_attacks import CONTROL, EVERY
from leaderboard.papers._mahler_examples import packed, unpacked
from leaderboard.papers._mahler_networks import Classwise
from leaderboard.papers._mahler_vehicles import Extent, Search, Watched, kind_of, window
from leaderboard.papers.mahler import Mahler, draw, report, studies

LOOK_DOWN = (20.0, 30.0)
DATASET = Spec.of("dataset", "rendered_vehicles", images=840, look_down=LOOK_DOWN, size=16)


class Data:
    """The data set with draws, as the harness hands it over."""

    num_classes = 7

    def split(self, part):
        found = build(resolve(DATASET)).split(part)
        return replace(found, draws=CounterDraws("mahler", found.index))


def thresholds(x, level):
    """Class 0 where the mean of the image is below a level, else class 1, of seven."""
    score = 20 * (x.flatten(1).mean(1) - level)
    return torch.stack([-score, score, *[torch.full_like(score, -1e3)] * 5], dim=1)


@pytest.fixture(scope="module")
def tables():
    train = Data().split("train")
    victim = build(resolve(Spec.of("victim", "small_cnn", epochs=1)))
    torch.manual_seed(0)
    network = victim.load(victim.fit(train))
    small = Spec.of("defense", "adversarial_training", attack=Spec.of("attack", "pgd", steps=1), updates=2)
    along = Spec.of("defense", "adversarial_training", attack=Spec.of("attack", "on_manifold_pgd", steps=1), updates=1)
    study = resolve(
        Spec.of(
            "study",
            "mahler",
            dataset=DATASET,
            training=(("PGD-trained", small), ("on-manifold-trained", along)),
            points=600,
            seeds=1,
            starts=1,
            step=2.5,
            eigenfunctions=30,
            inputs=20,
        )
    )
    decoder = PCA(4)
    return build(study).run(dataset=Data(), victim=network, latent=decoder.load(decoder.fit(train)))


@pytest.fixture(scope="module")
def sedan():
    renderer = RenderedVehicles(look_down=LOOK_DOWN, size=32)
    extent = Extent("inside", 15.0, LOOK_DOWN, 1.0)
    return window(renderer, extent, kind_of(100, 12), label=0, start=(100.0, 25.0))


def test_tables_are_data(tables):
    json.dumps(tables, allow_nan=False)
    searches = [name for name, _ in Mahler().searches]
    for extent in ("inside", "beyond"):
        for network in ("plain", "PGD-trained", "on-manifold-trained"):
            rows = [row for row in tables["attacks"] if (row["window"], row["network"]) == (extent, network)]
            natural = [row for row in tables["natural"] if (row["window"], row["network"]) == (extent, network)]
            assert [row["search"] for row in rows] == [*searches, CONTROL, EVERY] or natural[0]["wrong"] == 7
            assert all(row["starts"] + natural[0]["wrong"] == 7 for row in rows)


def test_report_and_pictures_go_through_json(tables, tmp_path, monkeypatch):
    again = json.loads(json.dumps([tables], sort_keys=True))
    text = report([tables])
    assert text.count("\n## ") == report(again).count("\n## ") == 4
    assert "nan" not in text
    for word in ("39.36 / 101.22", "first SEC field", "on-manifold PGD", "real image too"):
        assert word in text
    monkeypatch.setattr(_mahler_pictures, "_PIXELS", 21)
    pictures = draw(tmp_path, again)
    assert len(pictures) == 5
    assert all(path.stat().st_size > 10_000 for _, path in pictures)


def test_without_starts_there_are_circles_only(monkeypatch):
    monkeypatch.setattr(circles, "_UPDATES", 1)
    found = Mahler(points=600, seeds=1, starts=0).run(dataset=None, victim=None, latent=None)
    assert "attacks" not in found
    assert "## Vehicles" not in report([found])


def test_one_study():
    assert [spec.name for spec in studies()] == ["mahler"]


def test_printed_projection_is_that_of_the_specification():
    rows = {(row["kernel"], row["density"], row["score"]): row for row in circles.figure_2(500)}
    even = rows["printed", "uniform", "angle, largest"]
    for radius, known in (("0.5", 0.104), ("1.1", 0.031), ("2", 0.141), ("5", 0.619), ("100", 3.139)):
        assert even[radius] == pytest.approx(known, rel=0.05)
    assert max(rows["ours", "uniform", "angle, largest"][radius] for radius in ("0.5", "5", "100")) < 0.06


def test_printed_inner_product_shrinks_the_circle():
    row = next(iter(circles.inner_products(500)))
    assert row["D-weighted"] == pytest.approx(0.0088, rel=0.1)
    assert row["printed"] == pytest.approx(0.9375, rel=0.01)
    assert row["unit length"] == pytest.approx(0.0225, rel=0.1)


def test_tangents_of_uneven_circles_have_length_one():
    for flat in (True, False):
        data = circles.uneven_circle(50, flat=flat, seed=0)
        torch.testing.assert_close(data.tangent.norm(dim=1), torch.ones(50, dtype=torch.float64))
    angle = circles.around(4)
    torch.testing.assert_close(circles.ring(angle)[1], torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert float(angle[1]) == pytest.approx(pi / 2)


def test_labels_are_those_of_the_renderer(sedan):
    views = torch.tensor([[103.3, 22.6], [92.5, 27.4]])
    torch.testing.assert_close(sedan.labels(sedan.real(views)), views, atol=0.2, rtol=0)


def test_on_manifold_pgd_finds_the_view_where_a_threshold_lies(sedan):
    """The classifier reads the mean; along the manifold that is the vehicle's silhouette, a function of the view."""
    means = sedan.images.flatten(1).mean(1)
    here = float(sedan.x.mean())
    level = here + 0.5 * float(means.max() - here)
    attack = build(resolve(Mahler().searches[0][1]))
    x, iterates = Search("on-manifold PGD", attack).run(lambda inputs: thresholds(inputs, level), sedan, None)
    assert float(iterates[-2].mean()) <= level < float(x.mean())
    assert 2 < len(iterates) <= 31
    real = sedan.real(sedan.labels(x))
    assert float(real.mean()) == pytest.approx(float(x.mean()), abs=0.2 * float(means.std()))
    assert float((x - real).norm()) < sedan.scale


def test_a_misled_search_sees_the_values_and_other_gradients(sedan):
    watched = Watched(lambda x: thresholds(x, 0.5), torch.Generator().manual_seed(0))
    x = sedan.x.clone().requires_grad_()
    outputs = watched(x, None)
    torch.testing.assert_close(outputs.logits, thresholds(sedan.x, 0.5))
    (gradient,) = torch.autograd.grad(outputs.logits[:, 0].sum(), x)
    assert float(gradient.std()) == pytest.approx(1.0, abs=0.2)
    assert len(watched.seen) == 1


def test_each_class_is_attacked_along_its_own_manifold():
    class Shift:
        norms, minimal = ("l2",), False

        def perturb(self, view, x, y, budget, draws, *, manifold):
            return x + manifold

    part = Classwise(Shift(), {0: 0.1, 2: 0.3})
    y = torch.tensor([2, 0, 2])
    found = part.perturb(None, torch.zeros(3, 1), y, None, CounterDraws("test", torch.arange(3)))
    assert found[:, 0].tolist() == pytest.approx([0.3, 0.1, 0.3])


def test_images_survive_as_text():
    image = torch.randint(256, (3, 4, 5)) / 255
    assert (torch.from_numpy(unpacked(packed(image)).copy()).movedim(2, 0) == (image * 255).round()).all()
