"""The studies of Liu Z. et al. on digits, their report beside the printed figures, and paired differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.draws import CounterDraws
from harness.foreign import Scores, separation
from harness.spec import label, resolve
from harness.types import Spec, Split
from leaderboard.papers import _liu_z_official, _liu_z_pictures, _liu_z_steps
from leaderboard.papers._markdown import printed
from leaderboard.papers.liu_z import DETECTORS, LiuZ, _Passes, report, studies
from leaderboard.papers.liu_z_lifts import LIFTS, LiuZLifts, area, lift, steps


class Images:
    """Random images of a brightness, in place of a data set."""

    def __init__(self, name: str, mean: float, number: int = 24) -> None:
        self.spec = Spec.of("dataset", name)
        x = (mean + 0.1 * torch.randn(number, 1, 8, 8, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
        self.data = Split(x, torch.arange(number) % 10, torch.arange(number), 10, 255)

    def split(self, part: str) -> Split:
        split = self.data
        return Split(split.x, split.y, split.index, 10, 255, CounterDraws(f"{self.spec.name} {part}", split.index))


class Grey:
    """A diffusion model whose images are all of the brightness 0.5."""

    shape = (1, 8, 8)

    def noise(self, x: torch.Tensor, kept: float, /) -> torch.Tensor:
        return x / (1 - kept) ** 0.5

    def log_density(self, x: torch.Tensor, probes: torch.Tensor, /, *, steps: int = 10) -> torch.Tensor:
        return -(x - 0.5).square().flatten(1).sum(1)


@pytest.fixture(scope="module")
def victim() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    return layers.requires_grad_(False)


@pytest.fixture(scope="module")
def lifted(victim: torch.nn.Module) -> dict[str, list[dict[str, object]]]:
    home, away = Images("fashion_mnist", 0.5), [Images("mnist", 0.1), Images("kmnist", 0.45)]
    part = LiuZLifts(inputs=16, lifts=tuple((name, _few(spec)) for name, spec in LIFTS))
    return part.run(dataset=home, foreign=away, victim=victim, model=Grey())  # type: ignore[arg-type]


def _few(spec: Spec) -> Spec:
    """Two steps and attempts, and squares that divide eight pixels."""
    params = dict(spec.params)
    return lift(**{**params, "steps": 2, "attempts": 2, "side": 4})


def test_studies_resolve_and_name_the_data() -> None:
    found = studies()
    assert [spec.name for spec in found] == ["liu_z"] * 6 + ["liu_z_lifts"] * 4
    assert len(studies(official=True)) == len(found) + 1
    for spec in found:
        assert "inputs" in dict(resolve(spec).params)
    assert len({label(spec) for _, spec in LIFTS}) == len(LIFTS)


def test_detectors_are_given_their_models_and_what_passes_is_counted(victim: torch.nn.Module) -> None:
    home, away = Images("fashion_mnist", 0.5), [Images("mnist", 0.1)]
    chosen = tuple((name, spec) for name, spec in DETECTORS if name in ("Likelihood", "LMD", "MSP"))
    chosen = tuple((name, lift(steps=3, attempts=2) if name == "LMD" else spec) for name, spec in chosen)
    rows = LiuZ(inputs=10, detectors=chosen).run(dataset=home, foreign=away, victim=victim, diffusion=Grey())["areas"]  # type: ignore
    assert [row["detector"] for row in rows] == ["Likelihood", "LMD", "MSP"]
    assert {row["inputs"] for row in rows} == {10}
    assert [row["auroc"]["value"] for row in rows[:2]] == [1.0, 1.0]
    assert [row["evaluations"] for row in rows] == [0, 0, 1]


def test_the_busiest_layer_counts() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    counted = _Passes([network])
    network(torch.zeros(3, 2))
    network[0](torch.zeros(4, 2))
    assert counted.most() == 7
    network(torch.zeros(3, 2))
    assert counted.most() == 7


def test_lifts_are_measured_by_every_distance_on_the_same_images(lifted) -> None:
    rows = lifted["areas"]
    assert {row["distance"] for row in rows} == {"mse", "ssim", "LPIPS on our cnn", "LPIPS on a random cnn"}
    first = [row for row in rows if row["lift"] == LIFTS[0][0] and row["distance"] == "mse"]
    assert [row["attempts"] for row in first] == [1, 1, 2, 2]
    assert [row["evaluations"] for row in first] == [2, 2, 4, 4]
    dark = [row["auroc"]["value"] for row in first if row["foreign"] == "mnist"]
    assert dark == [1.0, 1.0]  # everything is filled with grey
    again = next(row for row in rows if "RePaint" in row["lift"])
    assert again["evaluations"] == 2 * 2 * 4
    assert len(lifted["scores"]) == 4 * len(LIFTS)
    score = lifted["scores"][0]
    expected = area(score["fashion_mnist"], score["kmnist"])
    assert expected["value"] == pytest.approx(next(r for r in first[2:] if r["foreign"] == "kmnist")["auroc"]["value"])


def test_areas_stand_beside_the_printed_ones(lifted, tmp_path) -> None:
    auroc = {"value": 0.5, "low": 0.49, "high": 0.51}
    one = {"home": "fashion_mnist", "foreign": "mnist", "inputs": 10, "evaluations": 4.0, "seconds": 0.002}
    table_1 = {"areas": [one | {"detector": name, "auroc": auroc} for name, _ in DETECTORS]}
    pair = {
        "foreign": "mnist",
        "distance": "mse",
        "attempts": 4,
        "home": "fashion_mnist",
        "seconds": 0.1,
        "auroc": auroc,
    }
    counted = {
        "areas": [pair | {"lift": f"{n} steps", "steps": n, "evaluations": 4 * n} for n in (10, 1000)],
        "scores": [
            pair | {"lift": f"{n} steps", "steps": n, "fashion_mnist": [0.0, 1.0], "mnist": [0.5, n / 1000]}
            for n in (10, 1000)
        ],
    }
    text = report([table_1, lifted, counted])
    assert "| LMD | 0.500 (0.490–0.510) / 0.992 | 0.500 / 0.992 | 4 | 2 |" in text
    assert "| MSP | 0.500 (0.490–0.510) | 0.500 | 4 | 2 |" in text
    assert "| noise of time 0.5 |" in text
    assert "/ 0.941 |" in text  # Table 4
    assert "/ 0.998 |" in text  # Table 3
    assert "| 10 | 40 | 0.500 (0.490–0.510) | -0.125 (" in text
    assert "| 1000 | 4000 | 0.500 (0.490–0.510) | – | 0.1 |" in text
    assert len(printed("liu_z")["table_1"]["rows"]) == 13
    for _, path in _liu_z_pictures.draw(tmp_path, [lifted]):
        assert path.stat().st_size > 1000


def test_differences_are_those_of_the_areas_and_of_the_same_resamples() -> None:
    generator = np.random.default_rng(0)
    clean, foreign = generator.normal(size=60), generator.normal(1.0, size=50)
    other = clean + generator.normal(scale=0.05, size=60), foreign + generator.normal(scale=0.05, size=50)
    found = _liu_z_steps.difference((clean, foreign), other)

    def auroc(a, b):
        return separation(Scores(a, np.arange(len(a))), Scores(b, np.arange(len(b))))["auroc"]

    assert found["value"] == pytest.approx(auroc(clean, foreign).value - auroc(*other).value, abs=1e-12)
    assert found["low"] <= found["value"] <= found["high"]
    assert found["high"] - found["low"] < 0.3 * (auroc(clean, foreign).high - auroc(clean, foreign).low)
    assert _liu_z_steps.difference((clean, foreign), (clean, foreign)) == {"value": 0, "low": 0, "high": 0}


def test_steps_name_their_numbers() -> None:
    assert [(name, dict(spec.params)["steps"]) for name, spec in steps((2, 5), 4)] == [("2 steps", 2), ("5 steps", 5)]


def test_the_official_size_has_a_command_of_its_own(lifted, tmp_path, monkeypatch) -> None:
    asked: list[Spec] = []
    monkeypatch.setattr("harness.api.study", lambda spec, **options: asked.append(spec) or lifted)
    monkeypatch.setattr("leaderboard.papers.liu_z.draw", lambda folder, results: [("curve", folder / "a.png")])
    path = _liu_z_official.main(str(tmp_path))
    assert asked == studies(official=True)
    assert "![curve](a.png)" in path.read_text(encoding="utf-8")
