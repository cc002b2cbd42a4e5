"""Each flag on a system built to deserve it, and on a sound one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import grid as grids
from harness import validity
from harness.types import Threat

HEADLINE = Threat("linf", 0.2, "adaptive")
SOUND: dict[str, Any] = {
    "inputs": 200,
    "random_declared": False,
    "gradient": {"inputs": 200, "unusable": 0},
    "mismatch": {"inputs": 200, "near": 0.99, "far": 0.95},
    "repeat": {"inputs": 200, "again": 0, "reversed": 0, "halved": 0, "gradient_mode": 0},
    "probabilities": False,
}


def outcomes(broken: dict[tuple[str, str], set[int]], n: int = 500, rejected: int = 0, **attrs: Any) -> pd.DataFrame:
    frames = []
    for (attack, knowledge), inputs in {("", ""): set(), **broken}.items():
        frame = pd.DataFrame({"index": np.arange(n)})
        frame["cell"] = "attack" if attack else "clean"
        frame["attack"], frame["knowledge"], frame["norm"] = attack, knowledge, "linf" if attack else ""
        frame["epsilon"], frame["draw"], frame["label"], frame["valid"] = 0.2 if attack else 0.0, 0, 0, True
        frame["prediction"] = frame["index"].isin(inputs).astype(int)
        frame["accepted"] = True if attack else frame["index"] >= rejected
        frame["margin"], frame["distance"], frame["role"] = 0.0, 0.1, "score"
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table.attrs = {"rejects": False, "rate": 0.01, "calibrated": 5000, "surrogate": False} | attrs
    return table


def flag(name: str, table: pd.DataFrame, probe: Any = SOUND) -> dict[str, Any]:
    return {f["name"]: f for f in validity.flags(table, probe, HEADLINE)}[name]


SOUND_OUTCOMES = {
    ("fgsm", "adaptive"): set(range(100)),
    ("pgd(steps=40)", "adaptive"): set(range(300)),
    ("noise", "adaptive"): set(range(10)),
    ("pgd(steps=40)", "oblivious"): set(range(200)),
}


def test_a_sound_system_has_no_flag() -> None:
    found = validity.flags(outcomes(SOUND_OUTCOMES), SOUND, HEADLINE)
    assert [f["name"] for f in found if f["fired"]] == []
    assert all(f["fired"] is False for f in found)
    assert len({f["name"] for f in found}) == len(found) == 8


def test_single_step_beats_iterative() -> None:
    weak = {
        **SOUND_OUTCOMES,
        ("fgsm", "adaptive"): set(range(120)),
        ("pgd(steps=40)", "adaptive"): set(range(110, 125)),
    }
    found = flag("single-step-beats-iterative", outcomes(weak))
    assert found["fired"]
    assert (found["evidence"]["b"], found["evidence"]["c"]) == (110, 5)
    assert found["evidence"]["p"] == pytest.approx(stats.binomtest(110, 115, alternative="greater").pvalue)
    few = {("fgsm", "adaptive"): {1, 2}, ("pgd", "adaptive"): {2}}
    assert flag("single-step-beats-iterative", outcomes(few))["fired"] is False
    assert flag("single-step-beats-iterative", outcomes({("fgsm", "adaptive"): {1}}))["fired"] is None


def test_black_box_beats_white_box() -> None:
    blind = {**SOUND_OUTCOMES, ("noise", "adaptive"): set(range(290, 320))}
    assert flag("black-box-beats-white-box", outcomes(blind))["fired"]
    stronger = {**SOUND_OUTCOMES, ("pgd(steps=40)", "oblivious"): set(range(330))}  # against the bare victim
    assert flag("black-box-beats-white-box", outcomes(stronger))["fired"]
    assert flag("black-box-beats-white-box", outcomes({("pgd", "adaptive"): {1}}))["fired"] is None


def test_inputs_wrong_when_clean_are_no_evidence() -> None:
    table = outcomes({("fgsm", "adaptive"): set(range(100)), ("pgd", "adaptive"): set()})
    clean = table["cell"] == "clean"
    table.loc[clean & (table["index"] < 100), "prediction"] = 1
    assert flag("single-step-beats-iterative", table)["fired"] is False


@pytest.mark.parametrize(
    ("name", "changes", "fired", "severity"),
    [
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 20}}, True, "warning"),
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 2}}, False, "warning"),
        ("zero-gradient", {"gradient": {"inputs": 200, "unusable": 200, "error": "no grad_fn"}}, True, "warning"),
        ("gradient-mismatch", {"mismatch": {"near": 0.3, "far": 0.5}}, True, "warning"),
        ("gradient-mismatch", {"mismatch": {"near": 0.3, "far": 0.9}}, False, "warning"),
        ("gradient-mismatch", {"mismatch": {"near": None, "far": None}}, None, "warning"),
        ("random", {"repeat": {**SOUND["repeat"], "again": 3}}, True, "warning"),
        ("random", {"random_declared": True}, True, "info"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "halved": 1}}, True, "warning"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "gradient_mode": 9}}, True, "warning"),
        ("batch-dependent", {"repeat": {**SOUND["repeat"], "again": 1, "halved": 1}}, None, "warning"),
        ("probabilities-not-logits", {"probabilities": True}, True, "info"),
    ],
)
def test_flags_of_the_probe(name: str, changes: dict[str, Any], fired: bool | None, severity: str) -> None:
    found = flag(name, outcomes(SOUND_OUTCOMES), SOUND | changes)
    assert (found["fired"], found["severity"]) == (fired, severity)


def test_without_probe_nothing_is_claimed() -> None:
    found = validity.flags(outcomes(SOUND_OUTCOMES), None, HEADLINE)
    assert sum(f["fired"] is None for f in found) == 5


@pytest.mark.parametrize(("calibrated", "clean"), [(359, 359), (360, 300), (5000, 1000)])
def test_threshold_off_is_calibrated(calibrated: int, clean: int) -> None:
    """p of an honest threshold, against simulation of the whole procedure: calibrate, then count rejections."""
    generator = np.random.default_rng(calibrated)
    place = int(np.ceil(round((calibrated + 1) * 0.99, 9)))
    counts = []
    for _ in range(4000):
        threshold = np.partition(generator.random(calibrated), place - 1)[place - 1]
        counts.append(int((generator.random(clean) > threshold).sum()))
    numbers = np.array(counts)
    for rejected in (0, 2, int(np.quantile(numbers, 0.9)), int(np.quantile(numbers, 0.99))):
        table = outcomes({}, n=clean, rejected=rejected, rejects=True, calibrated=calibrated)
        p = flag("threshold-off", table)["evidence"]["p"]
        simulated = min(1.0, 2 * min((numbers <= rejected).mean(), (numbers >= rejected).mean()))
        assert p == pytest.approx(simulated, abs=4 * np.sqrt(0.25 / 4000))


def test_threshold_off_fires_where_it_is_off() -> None:
    assert flag("threshold-off", outcomes({}, n=1000, rejected=50, rejects=True))["fired"]
    assert flag("threshold-off", outcomes({}, n=1000, rejected=10, rejects=True))["fired"] is False
    assert flag("threshold-off", outcomes({}, n=5000, rejected=5, rejects=True))["fired"]
    assert flag("threshold-off", outcomes({}, n=1000, rejected=500))["fired"] is False


BASE: dict[str, Any] = {
    "datasets": ["digits"],
    "victims": ["mlp"],
    "attacks": ["pgd"],
    "threats": [{"norm": "linf", "epsilons": [0.1, 0.2], "knowledge": ["oblivious", "adaptive"]}],
}


def extra(**changes: Any) -> list[str]:
    grid = grids.from_mapping({"name": "g", **BASE, **changes})
    (system,) = grids.systems(grid)
    found = [cell.attempt for cell in validity.cells(grid, system)]
    assert all(a is not None and (a.norm, a.epsilons) == (grid.headline.norm, (grid.headline.epsilon,)) for a in found)
    return [a.attack.name for a in found if a is not None]


def test_cells_that_the_flags_need() -> None:
    assert extra() == ["fgsm", "noise"]
    assert extra(attacks=["noise", "fgsm", {"pgd": {"steps": 3}}]) == []


def test_no_cell_where_the_attack_does_not_fit_the_headline() -> None:
    from harness import registry

    threats = [{"norm": "l0", "epsilons": [5], "knowledge": ["adaptive"]}]
    for name in extra(attacks=["foolbox/PointwiseAttack"], threats=threats):
        assert "l0" in registry.constants(registry.locate("attack", name))["norms"]
