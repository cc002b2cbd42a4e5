"""Liu Z. et al. 2024: foreign images told by lifting, mapping and measuring them, beside the paper's baselines."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.data import Data
from harness.progress import steps as shown
from harness.spec import build
from harness.types import Network, Spec, Split
from leaderboard.papers.liu_z_lifts import LIFTS, Row, Tables, area, first, lift, steps

DIFFUSED = {"samples": 1, "model": Spec.of("manifold", "diffusion")}
DETECTORS = (
    ("Likelihood", Spec.of("defense", "likelihood", **DIFFUSED)),
    ("IC", Spec.of("defense", "input_complexity", **DIFFUSED)),
    ("VAE", Spec.of("defense", "likelihood")),
    ("IC, VAE", Spec.of("defense", "input_complexity")),
    ("LR", Spec.of("defense", "likelihood_regret")),
    ("AE-MSE", Spec.of("defense", "autoencoder_error")),
    ("AE-MH", Spec.of("defense", "autoencoder_mahalanobis")),
    ("LMD", lift()),
    ("Mahalanobis", Spec.of("defense", "mahalanobis")),
    ("MSP", Spec.of("defense", "maximum_softmax")),
    ("Energy", Spec.of("defense", "energy")),
    ("kNN", Spec.of("defense", "nearest_neighbors")),
    ("ViM", Spec.of("defense", "vim")),
)
LONG = (("AnoGAN", Spec.of("defense", "ano_gan")),)  # in a study of its own, as its training costs most
SETS = ("fashion_mnist", "mnist", "kmnist")
MODELS: dict[str, dict[str, Any]] = {
    "fashion_mnist": {"weights": "fashion_mnist"},
    "mnist": {"epochs": 10},
    "kmnist": {"epochs": 12},
}
ONE = ("fashion_mnist", "mnist")  # the pair on which steps are counted
THOUSAND = 1000


@dataclass(frozen=True)
class LiuZ:
    """Areas under the ROC curve of detectors for foreign sets, with what a score costs (Liu Z. et al. 2024, Table 1).

    detectors: names and parts, each given the manifold that its own `model` names. inputs: test images of each data set,
    the first ones.
    """

    dataset: Spec = Spec.of("dataset", "fashion_mnist")
    foreign: tuple[Spec, ...] = (Spec.of("dataset", "mnist"), Spec.of("dataset", "kmnist"))
    victim: Spec = Spec.of("victim", "cnn", epochs=4)
    diffusion: Spec = Spec.of("manifold", "diffusion", weights="fashion_mnist")
    variational_autoencoder: Spec = Spec.of("manifold", "variational_autoencoder", epochs=2)
    autoencoder: Spec = Spec.of("manifold", "autoencoder", epochs=3, refinements=0)
    detectors: tuple[tuple[str, Spec], ...] = ()
    inputs: int = 200

    def run(self, *, dataset: Data, foreign: list[Data], victim: Network, **models: Any) -> Tables:
        """`areas`: rows of detector and foreign set; evaluations: passes of an image through the busiest network."""
        home, others = first(dataset, self.inputs), {data.spec.name: first(data, self.inputs) for data in foreign}
        rows: list[Row] = []
        for name, spec in shown(self.detectors, "detectors"):
            part = build(spec)
            given = {"model": models[part.model.name]} if hasattr(part, "model") else {}
            state = part.fit(dataset.split("fit"), victim=victim, **given) if hasattr(part, "fit") else {}
            score = part.load(state, victim=victim, **given)
            counted, start = _Passes([victim, *given.values()]), time.process_time()
            found = {place: scored(part, score, data) for place, data in {"home": home, **others}.items()}
            images = len(home) + sum(len(data) for data in others.values())
            seconds, evaluations = (time.process_time() - start) / images, counted.most() / images
            for place in others:
                row = {"home": self.dataset.name, "foreign": place, "detector": name, "inputs": len(home)}
                row |= {"auroc": area(found["home"], found[place]), "evaluations": evaluations, "seconds": seconds}
                rows.append(row)
        return {"areas": rows}


def scored(part: Any, score: Any, data: Split, size: int = 128) -> Any:
    """What a detector says of the images: (N,)."""
    found = []
    for rows in torch.split(torch.arange(len(data)), size):
        x, draws = data.x[rows], data.draws[rows].stream("score")
        with torch.no_grad():
            found.append(score(x, draws) if getattr(part, "random", False) else score(x))
    return torch.cat(found).numpy()


class _Passes:
    """Counts the inputs that pass each layer with parameters of some models."""

    def __init__(self, models: list[Any]) -> None:
        self.counts: dict[nn.Module, int] = {}
        self.hooks = []
        for network in _networks(models):
            for module in network.modules():
                if list(module.parameters(recurse=False)):
                    self.hooks.append(module.register_forward_hook(self._count))

    def _count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.counts[module] = self.counts.get(module, 0) + (len(output) if isinstance(output, Tensor) else 0)

    def most(self) -> int:
        """The inputs that passed the busiest layer; nothing is counted any more."""
        for hook in self.hooks:
            hook.remove()
        return max(self.counts.values(), default=0)


def _networks(models: list[Any]) -> Iterator[nn.Module]:
    for model in models:
        parts = [model, *vars(model).values()]
        yield from (part for part in parts if isinstance(part, nn.Module))


def studies(*, official: bool = False) -> list[Spec]:
    """Table 1 with 200 images of each set, Tables 2 to 4 with 60; official: 1,000 and 200, and 1,000 steps on one pair."""
    sizes = {"table_1": 1000, "lifts": 200} if official else {"table_1": 200, "lifts": 60}
    table: dict[str, Any] = {"inputs": sizes["table_1"]}
    lifts: dict[str, Any] = {"inputs": sizes["lifts"], "lifts": LIFTS}
    pair: dict[str, Any] = {"inputs": 100, "model": _model(ONE[0]), **_sets(*ONE)}
    numbers = [(2, 5, 10, 25, 50, 100), *([(THOUSAND,)] if official else [])]
    return [
        *(
            Spec.of("study", "liu_z", diffusion=_model(home), detectors=some, **table, **_sets(home))
            for some in (DETECTORS, LONG)
            for home in SETS
        ),
        *(Spec.of("study", "liu_z_lifts", model=_model(home), **lifts, **_sets(home)) for home in SETS),
        *(Spec.of("study", "liu_z_lifts", lifts=steps(some, 4), **pair) for some in numbers),
    ]


def _model(home: str) -> Spec:
    return Spec.of("manifold", "diffusion", **MODELS[home])


def _sets(home: str, *foreign: str) -> dict[str, Any]:
    others = foreign or [name for name in SETS if name != home]
    return {"dataset": Spec.of("dataset", home), "foreign": tuple(Spec.of("dataset", name) for name in others)}


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._liu_z_report").report(results)
    return text


def draw(folder: Path, results: list[Tables]) -> list[tuple[str, Path]]:
    """Curves over attempts and steps: titles and files in the folder."""
    found: list[tuple[str, Path]] = importlib.import_module("leaderboard.papers._liu_z_pictures").draw(folder, results)
    return found
