"""Samplers, chains, densities and grids of Tu et al. 2023 against other computations, small, with report and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from sklearn.metrics import roc_auc_score

from defenses._evidence import log_evidence
from geometry.manifolds._denoising import gaussian_denoiser
from geometry.manifolds.variational_autoencoder import VariationalAutoencoder
from harness.api import study
from harness.types import Spec, Split
from leaderboard.papers._tu_attributes import CLOTHING, NAMES, bernoulli
from leaderboard.papers._tu_chains import on_normal_data
from leaderboard.papers._tu_densities import evidence
from leaderboard.papers._tu_digits import cells, matched, two_digits
from leaderboard.papers._tu_divergences import divergences, mixture
from leaderboard.papers._tu_points import orders, sampled, shapes, sliced_wasserstein
from leaderboard.papers._tu_scores import ranking
from leaderboard.papers.tu import draw, report
from leaderboard.papers.tu_points import TuPoints

DIGITS = Spec.of("dataset", "digits")


def test_orders_are_one_and_four() -> None:
    """Tu et al. do not say so; DDIM is Euler's method. Errors at 10, 20, 40 steps for variance 0.25 were known before."""
    rows = {(row["sampler"], row["evaluations"]): row for row in orders((64, 128, 256))}
    assert rows["ddim", 256]["order"] == pytest.approx(1, abs=0.05)
    assert rows["rk4", 256]["order"] == pytest.approx(4, abs=0.3)
    assert rows["rk4", 64]["error"] < rows["ddim", 256]["error"]


def test_the_sliced_distance_is_the_mean_of_those_on_lines() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 2, generator=generator), 2 * torch.randn(50, 2, generator=generator) + 1
    directions = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=0)
    lines = [wasserstein_distance((x @ d).numpy(), (y @ d).numpy()) for d in directions.T]
    assert sliced_wasserstein(x, y) == pytest.approx(np.mean(lines), rel=1e-5)
    assert sliced_wasserstein(x, x) == 0


def test_samplers_of_normal_data_give_its_variance() -> None:
    denoiser = gaussian_denoiser(torch.tensor([0.25, 0.25]))
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(2))
    for sampler, evaluations in (("ddim", 200), ("rk4", 80), ("ddpm", 400)):
        assert float(sampled(denoiser, noise, sampler, evaluations).var()) == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ValueError, match="samplers are ddpm, ddim, rk4"):
        sampled(denoiser, noise, "heun", 4)


def test_shapes_lie_in_the_box() -> None:
    for x in shapes(500, 3).values():
        assert x.shape == (500, 2)
        assert bool(((x > 0) & (x < 1)).all())


def test_chains_are_exact_with_the_right_variance_alone() -> None:
    rows = list(on_normal_data((10, 50), number=20, rounds=5))
    assert max(row["right_largest"] for row in rows) < 1e-3
    assert {row["printed_deviation"] > 0.01 for row in rows if row["variance"] != 1} == {True}
    assert {row["printed_largest"] < 1e-3 for row in rows if row["variance"] == 1} == {True}


def test_ranking_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    home, foreign = generator.normal(0, 1, 60), generator.normal(0.5, 2, 80)
    found = ranking(home, foreign)
    truth = roc_auc_score([0] * 60 + [1] * 80, np.concatenate([-home, -foreign]))
    assert found["auroc"].value == pytest.approx(truth)
    assert found["auroc"].low < truth < found["auroc"].high
    assert found["likelier"].value == pytest.approx(float((foreign > np.median(home)).mean()))
    with pytest.raises(ValueError, match="some are nan"):
        ranking(home, np.array([np.nan]))


@pytest.mark.parametrize("levels", [2, 6])
def test_divergences_agree_and_the_nearest_centre_is_a_bound(levels: int) -> None:
    for row in divergences(1 / 3, levels):
        assert row["nearest"] == pytest.approx(row["torch"], abs=1e-6)
        assert row["whole"] <= row["bound"] + 1e-6
        assert row["drawn"] == pytest.approx(row["whole"], abs=0.1)
    sharp = next(row for row in divergences(1 / 16, levels) if row["mean"] == 0.25 and row["deviation"] == 0.05)
    assert sharp["whole"] == pytest.approx(sharp["bound"], abs=1e-4)


def test_the_prior_is_a_density() -> None:
    z = torch.linspace(-5, 11, 20_001, dtype=torch.float64)
    assert float(torch.trapezoid(mixture(1 / 3, 6).log_prob(z).exp(), z)) == pytest.approx(1)


def test_pairs_of_digits_are_halves_side_by_side() -> None:
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 4, 4).contiguous() / 4
    data = Split(x, torch.arange(4), torch.arange(4), 4)
    pairs = two_digits(data, 30, 3, 0)
    assert pairs.x.shape == (30, 1, 2, 4)
    first, second = pairs.x[:, 0, 0, 0] * 4, pairs.x[:, 0, 0, 3] * 4
    assert torch.equal((3 * first + second).long(), pairs.y)
    with pytest.raises(ValueError, match="some of them have none"):
        two_digits(data, 3, 5, 0)


def test_cells_are_matched_whatever_their_order() -> None:
    codes = torch.tensor([[0.1, 0.9], [-3.0, 7.0], [2.4, 1.2]])
    assert cells(codes, 3).tolist() == [1, 2, 7]
    labels = torch.arange(9).repeat(4)
    share, classes = matched((labels * 2) % 9, labels, 9)
    assert share == 1
    assert classes[2] == 1


def test_attributes_name_classes_and_coins_diverge_as_they_should() -> None:
    assert len(set(CLOTHING)) == 10
    assert {len(row) for row in CLOTHING} == {len(NAMES)}
    assert bernoulli(0.3, 0.3) == 0
    assert bernoulli(0.0, 0.25) == pytest.approx(-math.log(0.75))
    assert bernoulli(0.5, 0.0) == math.inf


def test_the_evidence_is_that_of_the_detector() -> None:
    x = torch.rand(30, 6, generator=torch.Generator().manual_seed(0))
    part = VariationalAutoencoder(dim=2, width=2, epochs=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = part.load(part.fit(Split(x, torch.zeros(30, dtype=torch.int64), torch.arange(30), 1)))
    noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(evidence(model, x), log_evidence(model, x, noise), rtol=1e-4, atol=1e-3)


def test_bad_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="four evaluations a step"):
        TuPoints(evaluations=(2, 8))
    with pytest.raises(ValueError, match=r"strides lie in 1 \.\. 1000"):
        TuPoints(strides=(2000,))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[dict[str, object]]]]:
    home = tmp_path_factory.mktemp("tu")
    model = Spec.of("manifold", "diffusion", dim=1, width=8, epochs=1)
    grid = {"width": 2, "epochs": 1, "refinements": 0}
    specs = [
        Spec.of(
            "study",
            "tu_points",
            parts=(("model", model),),
            points=300,
            evaluations=(8, 20),
            orders=(16, 32),
            samples=50,
            repeats=2,
            strides=(100,),
            chained=20,
            rounds=2,
        ),
        Spec.of(
            "study",
            "tu_densities",
            dataset=DIGITS,
            foreign=(Spec.of("dataset", "digits", classes=(0, 1)),),
            diffusion=Spec.of("manifold", "diffusion", width=8, epochs=1, dim=1),
            flow=Spec.of("manifold", "flow", dim=4, width=2, epochs=1, transforms=1, hidden=8, flow_epochs=1),
            autoencoder=Spec.of("manifold", "variational_autoencoder", dim=4, width=2, epochs=1),
            inputs=12,
            flow_steps=2,
            chain_steps=3,
        ),
        Spec.of(
            "study",
            "tu_grid",
            dataset=DIGITS,
            digits=DIGITS,
            parts=(
                ("digits", Spec.of("manifold", "grid_vae", dim=2, levels=3, **grid)),
                ("clothing", Spec.of("manifold", "grid_vae", dim=7, **grid)),
            ),
            levels=3,
            pairs=200,
            training=300,
        ),
    ]
    return [json.loads(json.dumps(study(spec, home=home))) for spec in specs]


def test_the_report_has_every_section(results: list[dict[str, list[dict[str, object]]]]) -> None:
    text = report(results)
    for title in ("Orders", "Samples", "chain ratios", "Densities of digits", "divergences", "pairs", "attributes"):
        assert any(line.startswith("## ") and title in line for line in text.splitlines()), title
    assert "| autoencoder, evidence bound | digits(" in text
    assert "| nan |" not in text


def test_pictures_are_drawn(results: list[dict[str, list[dict[str, object]]]], tmp_path: Path) -> None:
    found = draw(tmp_path, results)
    assert {path.stem for _, path in found} == {
        *("tu_samplers", "tu_clouds", "tu_chains", "tu_densities", "tu_digits", "tu_traversals")
    }
    assert all(path.stat().st_size > 5000 for _, path in found)
