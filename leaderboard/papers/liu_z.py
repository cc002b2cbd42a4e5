"""Liu Z. et al. 2024: foreign images told by lifting, mapping and measuring them, beside seven baselines, and under attack."""

from __future__ import annotations

import importlib
from typing import Any

from harness.types import Spec

Record = dict[str, Any]

PAIRS = {"fashion_mnist": ("mnist", "kmnist"), "mnist": ("fashion_mnist", "kmnist")}  # in-domain: foreign
MODELS = {"fashion_mnist": {"weights": "fashion_mnist"}, "mnist": {"epochs": 20}}  # of diffusion
DETECTORS: dict[str, Any] = {
    "Likelihood": "likelihood",
    "IC": "input_complexity",
    "LR": "likelihood_regret",
    "AE-MSE": "autoencoder_error",
    "AE-MH": "autoencoder_mahalanobis",
    "LMD": "lift_map_detect",
    "Mahalanobis": "mahalanobis",
    "MSP": "maximum_softmax",
    "Energy": "energy",
    "kNN": "nearest_neighbors",
    "ViM": "vim",
}


def studies() -> list[Spec]:
    """Nothing but the grids."""
    return []


def grids() -> list[dict[str, Any]]:
    """A grid for each data set that is at home: every detector on the foreign sets, and on adversarial images."""
    without = [name for name in DETECTORS.values() if name != "lift_map_detect"]
    return [
        {
            "name": f"liu-z-{home}",
            "suite": "liu-z-1",
            "datasets": [home],
            "victims": [{"cnn": {"epochs": 4}}],
            "defenses": [*without, {"lift_map_detect": {"model": {"diffusion": MODELS[home]}}}],
            "attacks": [{"pgd": {"steps": 10}}],
            "threats": [{"norm": "linf", "epsilons": [0.1], "knowledge": ["oblivious"]}],
            "headline": {"norm": "linf", "epsilon": 0.1, "knowledge": "oblivious"},
            "shifts": [*foreign],
            "inputs": 200,
            "clean_inputs": 500,
            "scrutiny": "light",
        }
        for home, foreign in PAIRS.items()
    ]


def report(results: list[dict[str, Any]], records: list[list[Record]]) -> str:
    """Ours beside the paper's printed figures, as Markdown."""
    text: str = importlib.import_module("leaderboard.papers._liu_z_report").report(records)
    return text
