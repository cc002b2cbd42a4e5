"""Mahler et al. 2024: projected gradient descent along a manifold fitted by diffusion, and how often it succeeds."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from harness.spec import build, label
from harness.types import Budget, Dataset, LatentManifold, Network, Spec, Split
from leaderboard.papers._mahler_attacks import rates, tried
from leaderboard.papers._mahler_circles import (
    figure_1,
    figure_2,
    figure_3,
    inner_products,
    noise_left,
    undefined_from,
)
from leaderboard.papers._mahler_examples import gallery, manifold_map, view_map
from leaderboard.papers._mahler_networks import accuracies, trained
from leaderboard.papers._mahler_vehicles import Extent, Renderer, Search, Window, kind_of, windows

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Mahler:
    """Extension, projection and tangents on circles; on-manifold PGD and its rivals on vehicles (Mahler et al. 2024).

    points: of the circles; seeds: of Figure 3. victim: trained on the dataset's part for training, as are latent, the
    decoder that latent PGD goes along, and training: defenses by name, each continuing from the victim. searches: by name,
    with steps of one local scale, of which the budget is 50 and that of PGD 1. starts: for each vehicle and each of two
    windows of views; one has the look-down angles trained on and 15 degrees of azimuth to either side, the other `beyond`
    degrees more and 20; views stand `step` and twice `step` degrees apart. eigenfunctions and neighbors: of the
    manifolds. robust: budgets of the accuracies under attack, on `inputs` test images. example: the vehicle in the
    pictures. starts = 0 leaves all but the circles out.
    """

    dataset: Spec = Spec.of("dataset", "rendered_vehicles", images=2100, look_down=(20.0, 30.0))
    victim: Spec = Spec.of("victim", "small_cnn", epochs=6)
    latent: Spec = Spec.of("manifold", "autoencoder", batch_size=32, epochs=1, refinements=0, width=8)
    training: tuple[tuple[str, Spec], ...] = (
        (
            "PGD-trained",
            Spec.of(
                "defense",
                "adversarial_training",
                attack=Spec.of("attack", "pgd", steps=3),
                batch_size=64,
                epsilon=0.031373,
                updates=200,
            ),
        ),
        (
            "on-manifold-trained",
            Spec.of(
                "defense",
                "adversarial_training",
                attack=Spec.of("attack", "on_manifold_pgd", steps=2),
                batch_size=64,
                epsilon=10.0,
                norm="l2",
                updates=60,
            ),
        ),
        (
            "trained longer",
            Spec.of(
                "defense",
                "adversarial_training",
                attack=Spec.of("attack", "noise", repeats=1),
                batch_size=64,
                epsilon=0.000001,
                updates=60,
            ),
        ),
    )
    searches: tuple[tuple[str, Spec], ...] = (
        ("on-manifold PGD", Spec.of("attack", "on_manifold_pgd", residual=False, step_size=0.02, steps=30)),
        ("random walk", Spec.of("attack", "on_manifold_pgd", residual=False, step_size=0.02, steps=30)),
        ("latent PGD", Spec.of("attack", "latent_pgd", step_size=0.02, steps=30)),
        ("PGD", Spec.of("attack", "pgd", random_start=False, steps=30)),
    )
    robust: tuple[tuple[str, float], ...] = (("linf", 0.031373), ("l2", 1.0))
    points: int = 1000
    seeds: int = 5
    starts: int = 4
    beyond: float = 10.0
    step: float = 1.0
    eigenfunctions: int = 100
    neighbors: int = 12
    inputs: int = 210
    example: int = 0

    def run(self, *, dataset: Dataset, victim: Network, latent: LatentManifold) -> Tables:
        """Figures by their numbers in the paper, `attacks`, the table that it lacks, and what its pictures show."""
        tables: Tables = {"setting": [self._setting()]} | self._circles()
        return tables | self._vehicles(dataset, victim, latent) if self.starts else tables

    def _circles(self) -> Tables:
        half = self.points // 2
        return {
            "figure_1": list(figure_1(self.points)),
            "underflow": [{"radius": undefined_from(self.points)}],
            "figure_2": list(figure_2(half)),
            "noise_left": list(noise_left(self.points)),
            "inner_products": list(inner_products(half)),
            "figure_3": list(figure_3(self.points, self.seeds)),
        }

    def _vehicles(self, dataset: Dataset, victim: Network, latent: LatentManifold) -> Tables:
        renderer = cast("Renderer", build(self.dataset))
        networks = {"plain": victim} | self._trained(victim, dataset.split("train"))
        tables = self._accuracies(networks, dataset.split("test"), renderer)
        tables["attacks"], tables["natural"] = [], []
        for extent in self._extents(renderer):
            chosen = self._windows(renderer, extent, range(len(renderer.class_names)))
            for name, result in tried(networks, chosen, self._searches(), latent).items():
                tables["attacks"] += rates(extent.name, name, result)
                row = {"window": extent.name, "network": name, "starts": result.starts, "wrong": result.natural}
                tables["natural"].append(row)
        return tables | self._pictures(networks, renderer, latent)

    def _trained(self, victim: Network, data: Split) -> dict[str, Network]:
        kind = kind_of(self.eigenfunctions, self.neighbors)
        return {name: trained(victim, defense, data, kind) for name, defense in self.training}

    def _accuracies(self, networks: Mapping[str, Network], test: Split, renderer: Renderer) -> Tables:
        attack = build(Spec.of("attack", "pgd", steps=10))
        budgets = [Budget(cast("Any", norm), epsilon) for norm, epsilon in self.robust]
        few = test[torch.arange(min(self.inputs, len(test)))]
        rows = accuracies(networks, few, renderer, attack=attack, budgets=budgets, beyond=self.beyond)
        return {"networks": list(rows)}

    def _extents(self, renderer: Renderer) -> tuple[Extent, Extent]:
        low, high = renderer.look_down
        wider = (max(low - self.beyond, 0.0), min(high + self.beyond, 90.0))
        inside = Extent("inside", 15.0, (low, high), self.step)
        return inside, Extent("beyond", 20.0, wider, 2 * self.step)

    def _windows(self, renderer: Renderer, extent: Extent, labels: Sequence[int]) -> Iterator[Window]:
        kind = kind_of(self.eigenfunctions, self.neighbors)
        return windows(renderer, extent, kind, starts=self.starts, labels=labels)

    def _searches(self) -> list[Search]:
        return [_search(name, spec) for name, spec in self.searches]

    def _pictures(self, networks: Mapping[str, Network], renderer: Renderer, latent: LatentManifold) -> Tables:
        """Maps of the first two networks, the example's manifold, and a search that succeeds in each window, if any does."""
        shown = list(networks)[:2]
        maps = [view_map(name, networks[name], renderer, label=self.example, step=4 * self.step) for name in shown]
        found: Tables = {"maps": maps, "manifold": [], "steps": []}
        for extent in self._extents(renderer):
            chosen = list(self._windows(renderer, extent, [self.example]))
            runs = [gallery(networks["plain"], one, self._searches()[0], latent) for one in chosen]
            best = max(range(len(runs)), key=lambda i: _worth(runs[i]))
            found["steps"] += runs[best]
            found["manifold"] = [manifold_map(chosen[best])]
        return found

    def _setting(self) -> Row:
        trainings = "; ".join(f"{name}: {label(spec)}" for name, spec in self.training)
        return {
            "dataset": label(self.dataset),
            "victim": label(self.victim),
            "trainings": trainings,
            "searches": "; ".join(f"{name}: {label(spec)}" for name, spec in self.searches),
            "decoder": label(self.latent),
            "starts a vehicle": self.starts,
            "beyond": self.beyond,
        }


def _search(name: str, spec: Spec) -> Search:
    """A search by its name; PGD stays within one local scale."""
    attack = build(spec)
    if not hasattr(attack, "manifold"):
        return Search(name, attack, reach=1.0, manifold=None)
    along = spec.name == "on_manifold_pgd"
    return Search(name, attack, manifold="window" if along else "decoder", misled=name == "random walk")


def _worth(run: Sequence[Row]) -> tuple[bool, int]:
    """Searches that succeed after many steps are worth showing most."""
    right = [row["class"] == row["vehicle"] for row in run]
    return right[0] and not right[-1], run[-1]["step"] if not right[-1] else 0


def studies() -> list[Spec]:
    """What `leaderboard paper mahler` runs."""
    return [Spec.of("study", "mahler")]


def report(results: list[Tables]) -> str:
    """Ours beside what the paper says, as Markdown."""
    # By name, not by an import statement: the wording of a report is no part of a study's key.
    text: str = importlib.import_module("leaderboard.papers._mahler_report").report(results)
    return text


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Figures 1 to 3 and 6 to 10: titles and files in the folder."""
    found: list[tuple[str, Path]] = importlib.import_module("leaderboard.papers._mahler_pictures").draw(folder, results)
    return found
