"""Pickard et al. 2023: brains' dissimilarity matrices as a yardstick for networks, on 92 images in place of BOLD5000."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from geometry.representations.categorical import categorical_model, category_matrix
from geometry.representations.comparison import pearson, spearman
from geometry.representations.dissimilarity import dissimilarity_matrix
from geometry.representations.gabor_bank import gabor_energies
from geometry.representations.noise_ceiling import noise_ceiling
from harness.data import Data
from harness.datasets.brain92 import SESSIONS, SUBJECTS, Brain92
from harness.datasets.brain_volumes import BrainVolumes
from harness.progress import steps
from harness.spec import build, label
from harness.types import Network, Spec
from leaderboard.papers._pickard_fiedler import fiedler_rows, pairs
from leaderboard.papers._pickard_similarity import Brain, Model, best, halves, layer_rows, table_2

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Pickard:
    """Similarity of networks' layers with cortex, and Fiedler partitions, on the 92 images (Pickard et al. 2023).

    networks, trained on `dataset`, see `stimuli` at its size, of brain92 or brain_volumes (BOLD5000 itself); beside them the
    same networks with new weights, pixels and Gabor energies. draws: of the bootstrap over images; splits: into halves, the
    layer being chosen on one and reported on the other. Source: Table 2, Figures 7 to 9, algorithm 1.
    """

    dataset: Spec = Spec.of("dataset", "cifar10")
    stimuli: Spec = Spec.of("dataset", "brain92", size=32)
    networks: tuple[Spec, ...] = (
        Spec.of("victim", "mlp", epochs=3),
        Spec.of("victim", "small_cnn", epochs=3),
        Spec.of("victim", "cnn", width=16, epochs=4),
    )
    draws: int = 1000
    splits: int = 20

    def run(self, *, dataset: Data, stimuli: Data, networks: Sequence[Network]) -> Tables:
        """Tables: known (answers of the data themselves), layers, table_2, halves, fiedler, networks, setting."""
        data: Brain92 | BrainVolumes = build(self.stimuli)
        whole = data.whole()
        x = whole.x.to(dataset.split("test").x.device)
        brain = Brain(
            {region: data.matrix(region) for region in data.regions},
            {region: data.people(region) for region in data.regions},
            whole.y,
        )
        named = list(zip(map(label, self.networks), networks, strict=True))
        models = [*self._networks(named, x), *_baselines(x)]
        animate = data.category("animate") if isinstance(data, Brain92) else None
        cuts = list(pairs(whole.y, data.class_names, animate))
        measured = brain.regions[data.regions[0]]
        matrices = dict(brain.regions) | {
            model.name: model.layers[best(model, categorical_model(measured, whole.y).matrix)] for model in models
        }
        return {
            "setting": [self._setting()],
            "networks": [_accuracy(name, network, dataset) for name, network in named],
            "known": [*(_known(data, brain) if isinstance(data, Brain92) else ()), *_ceilings(brain)],
            "layers": list(layer_rows(models, brain)),
            "left_out": [
                {"model": m.name, "layer": layer, "why": why} for m in models for layer, why in m.left_out.items()
            ],
            "table_2": list(table_2(models, brain, self.draws)),
            "halves": list(halves(models, brain, self.splits)),
            "fiedler": list(fiedler_rows(matrices, cuts, self.draws // 4)),
        }

    def _networks(self, named: Sequence[tuple[str, Network]], x: Tensor) -> Iterator[Model]:
        """Each network, and with new weights."""
        for name, network in steps(named, "matrices"):
            module = cast("nn.Module", network)
            yield Model.of(name, module, x)
            yield Model.of(f"untrained {name}", _untrained(module), x)

    def _setting(self) -> Row:
        note = getattr(build(self.dataset), "note", "")
        return {"dataset": label(self.dataset), "note": note, "stimuli": label(self.stimuli), "draws": self.draws}


def studies() -> list[Spec]:
    """What `leaderboard paper pickard` runs besides the grid: networks beside cortex, and what fine-tuning does to them."""
    return [Spec.of("study", "pickard"), Spec.of("study", "pickard_targets")]


def grids() -> list[Any]:
    """Does similarity to a target buy robustness? Each target, its shuffled control, and plain fine-tuning."""
    return [importlib.import_module("harness.api").read_grid("rdm_robustness")]


def report(results: list[Tables], records: list[list[Row]]) -> str:
    """Ours beside the paper's printed figures, as Markdown."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._pickard_report").report(results, records)
    return text


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Similarity by layer, and similarity against accuracy: titles and files in the folder."""
    pictures = importlib.import_module("leaderboard.papers._pickard_pictures")
    found: list[tuple[str, Path]] = pictures.draw(folder, results)
    return found


def _untrained(network: nn.Module) -> nn.Module:
    """A copy with new weights, and statistics of batches that nothing was learnt from."""
    new = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in new.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return new.eval()


def _baselines(x: Tensor) -> Iterator[Model]:
    for name, rows in (("pixels", x.flatten(1)), ("gabor", gabor_energies(x))):
        yield Model(name, {name: dissimilarity_matrix(rows, dtype=torch.float64).cpu()}, {})


@torch.no_grad()
def _accuracy(name: str, network: Network, dataset: Data) -> Row:
    test = dataset.split("test")
    test = test[torch.arange(min(2000, len(test)), device=test.y.device)]
    parts = zip(torch.split(test.x, 256), torch.split(test.y, 256), strict=True)
    right = [(network(x).argmax(1) == y).double() for x, y in parts]
    return {"network": name, "accuracy": float(torch.cat(right).mean()), "inputs": len(test)}


def _known(data: Brain92, brain: Brain) -> Iterator[Row]:
    """What the matrices are to one another, with no network in it."""
    human, monkey = brain.regions["human_it"], brain.regions["monkey_it"]
    yield {"what": "monkey~human, Spearman", "value": float(spearman(monkey, human)), "known": 0.439}
    yield {"what": "monkey~human, Pearson", "value": float(pearson(monkey, human)), "known": 0.491}
    for subject, known in zip(SUBJECTS, (0.277, 0.095, 0.382, 0.120), strict=True):
        both = [data.matrix(f"human_it_{subject}_{session}") for session in SESSIONS]
        yield {"what": f"sessions of {subject.upper()}, Spearman", "value": float(spearman(*both)), "known": known}
    animate = category_matrix(data.category("animate"))
    for region, matrix, known in (("human", human, 0.577), ("monkey", monkey, 0.442)):
        yield {"what": f"animacy~{region}, Pearson", "value": float(pearson(animate, matrix)), "known": known}
    for constant, known_pair in ((False, (0.545, 0.455)), (True, (0.599, 0.481))):
        for region, matrix, known in zip(("monkey", "human"), (monkey, human), known_pair, strict=True):
            fitted = categorical_model(matrix, brain.labels, constant=constant).pearson
            what = f"four categories{' and a constant' if constant else ''}~{region}, Pearson"
            yield {"what": what, "value": fitted, "known": known}


def _ceilings(brain: Brain) -> Iterator[Row]:
    for region, people in brain.people.items():
        for compare in ("spearman", "pearson") if len(people) > 1 else ():
            ceiling = noise_ceiling(people, compare)
            for end, value in (("lower", ceiling.lower), ("upper", ceiling.upper)):
                what = f"noise ceiling of {len(people)} people, {region}, {compare}: {end}"
                yield {"what": what, "value": value, "known": None}
