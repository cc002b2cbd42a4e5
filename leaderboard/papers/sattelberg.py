"""Sattelberg, Cavalieri, Kirby, Peterson and Beveridge 2023: the local affine maps of ReLU networks."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from harness.spec import build, label
from harness.types import Dataset, Network, Spec, Split
from leaderboard.papers._sattelberg_maps import Subject, summary, table_1, table_2
from leaderboard.papers._sattelberg_networks import Standardised, convolutional, dense, train
from leaderboard.papers._sattelberg_toys import circles, exclusive_or_networks, mapped_exclusive_or

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Sattelberg:
    """Local affine maps of networks, clustered, and mapped from one network to another (Sattelberg et al. 2023).

    The dense network and two convolutional ones are trained as the paper says, for `epochs` (30), on all inputs that are
    not for testing; `others`, in place of its Inception and ResNet, as the harness trains them. rows: training inputs
    whose maps are clustered and fitted (60,000); inputs: of the test (10,000); clusters: an output (1, 10, .., 10,000);
    runs: of the networks on the plane, 0 leaves these out. Maps are those of standardised inputs. Source: Tables 1, 2.
    """

    dataset: Spec = Spec.of("dataset", "mnist")
    others: tuple[Spec, ...] = (Spec.of("victim", "cnn", width=8),)
    epochs: int = 10
    rows: int = 4000
    inputs: int = 1000
    clusters: tuple[int, ...] = (1, 10, 100)
    runs: int = 10

    def run(self, *, dataset: Dataset, others: Sequence[Network] = ()) -> Tables:
        """Tables by their numbers in the paper, networks, setting, and those on the plane."""
        training = _joined([dataset.split(part) for part in ("train", "fit", "calibrate")])
        deviation, mean = (float(value) for value in torch.std_mean(training.x, correction=0))
        training, test = (_standardised(part, mean, deviation) for part in (training, dataset.split("test")))
        named = [*self._trained(training), *self._others(others, mean, deviation)]
        training, test = _first(training, self.rows), _first(test, self.inputs)
        subjects = [Subject.of(name, network, training, test) for name, network in named]
        tables = {
            "setting": [self._setting(len(training), len(test), getattr(build(self.dataset), "note", ""))],
            "networks": [summary(subject, training, test) for subject in subjects],
            "table_1": [row for subject in subjects for row in table_1(subject, test, self.clusters)],
            "table_2": list(table_2(subjects, test)),
        }
        return tables | self._plane()

    def _setting(self, rows: int, inputs: int, note: str) -> Row:
        """What the tables are about."""
        return {"dataset": label(self.dataset), "note": note, "rows": rows, "inputs": inputs}

    def _trained(self, training: Split) -> Iterator[tuple[str, nn.Module]]:
        """The networks that the paper describes whole."""
        channels, classes, pixels = training.x.shape[1], training.num_classes, training.x[0].numel()
        yield "dense", train(dense(pixels, classes), training, epochs=self.epochs, seed=0)
        for seed in (1, 2):
            network = convolutional(channels, classes)
            yield f"conv{seed}", train(network, training, epochs=self.epochs, seed=seed)

    def _others(self, others: Sequence[Network], mean: float, deviation: float) -> Iterator[tuple[str, nn.Module]]:
        for spec, network in zip(self.others, others, strict=True):
            yield label(spec), Standardised(cast("nn.Module", network), mean, deviation).eval()

    def _plane(self) -> Tables:
        """What the figures on the plane show."""
        if not self.runs:
            return {}
        return {
            "exclusive_or": list(exclusive_or_networks()),
            "figure_6": mapped_exclusive_or(),
            "circles": list(circles(self.runs)),
        }


def studies() -> list[Spec]:
    """What `leaderboard paper sattelberg` runs: MNIST with the networks on the plane, and Fashion-MNIST."""
    fashion = Spec.of("dataset", "fashion_mnist")
    return [
        Spec.of("study", "sattelberg"),
        Spec.of("study", "sattelberg", dataset=fashion, epochs=1, runs=0),
    ]


def report(results: list[Tables]) -> str:
    """Ours beside the paper's printed figures, as Markdown; results in the order of `studies`."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._sattelberg_report").report(results)
    return text


def _joined(parts: Sequence[Split]) -> Split:
    first = parts[0]
    x, y, index = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y", "index"))
    return Split(x, y, index, first.num_classes, first.levels)


def _standardised(data: Split, mean: float, deviation: float) -> Split:
    return Split((data.x - mean) / deviation, data.y, data.index, data.num_classes, None)


def _first(data: Split, number: int) -> Split:
    return data[torch.arange(min(number, len(data)), device=data.y.device)]


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """The paper's pictures: titles and files in the folder."""
    found: list[tuple[str, Path]] = importlib.import_module("leaderboard.papers._sattelberg_pictures").draw(folder)
    return found
