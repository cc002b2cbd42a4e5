"""Cells that hold images: Tables 2 to 7 and Figures 3 and 4 of Liu et al. 2023."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.active_bits import active_bits
from geometry.polyhedra.bisection import bisection
from geometry.polyhedra.chebyshev_center import chebyshev_center
from geometry.polyhedra.crossings import Crossings, crossings
from geometry.polyhedra.halfspaces import Halfspaces, halfspaces
from geometry.polyhedra.hamming_distances import nearest_patterns
from harness.progress import steps
from harness.spec import label
from harness.types import Network, Spec, Split
from leaderboard.papers._liu_y_toys import mean

Row = dict[str, Any]
Sets = Mapping[str, Split]  # by name: train, test, and those made from test

_ROWS = 500


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, the same in float64, and the sets of inputs that it is asked about."""

    name: str
    victim: Network
    network: nn.Module
    sets: Sets

    @classmethod
    def of(cls, spec: Spec, victim: Network, sets: Sets) -> Subject:
        """A subject by its label."""
        double: nn.Module = copy.deepcopy(victim).double()  # type: ignore[attr-defined]
        return cls(label(spec), victim, double, sets)

    def bits(self, x: Tensor) -> Tensor:
        """Activation patterns (B, h)."""
        return activation_pattern(self.network, x.double())

    @torch.no_grad()
    def accuracy(self, data: Split) -> float:
        """Share of inputs classified as labelled."""
        return float((self.network(data.x.double()).argmax(1) == data.y).double().mean())


def nearest_inputs(a: Tensor, b: Tensor, *, itself: bool) -> Tensor:
    """Which row of b (M, *S) each of a (N, *S) is nearest to in l2, (N,); itself: a is b, and no row is its own neighbour."""
    flat, others = a.double().flatten(1), b.double().flatten(1)
    half, found = others.square().sum(1) / 2, []
    for first in range(0, len(flat), _ROWS):
        distance = half - flat[first : first + _ROWS] @ others.T
        if itself:
            rows = torch.arange(len(distance), device=distance.device)
            distance[rows, rows + first] = torch.inf
        found.append(distance.argmin(1))
    return torch.cat(found)


def nearest_others(bits: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest Hamming distance (N,) from each pattern to another one, and which that is (N,)."""
    distances, indices = nearest_patterns(bits, bits, k=2)
    other = (indices[:, 0] == torch.arange(len(bits), device=bits.device)).long()
    rows = torch.arange(len(bits), device=bits.device)
    return distances[rows, other], indices[rows, other]


def table_3(subjects: list[Subject]) -> Iterator[Row]:
    """Share of inputs whose nearest other one has their class, by l2 and by each network's patterns."""

    def same(chosen: Callable[[Split], Tensor], sets: Sets) -> Row:
        return {
            name: float((data.y[chosen(data)] == data.y).double().mean())
            for name, data in sets.items()
            if name in ("train", "test")
        }

    sets = subjects[0].sets
    yield {"metric": "Euclidean"} | same(lambda data: nearest_inputs(data.x, data.x, itself=True), sets)
    for subject in steps(subjects, "nearest patterns"):
        row = same(lambda data, subject=subject: nearest_others(subject.bits(data.x))[1], subject.sets)  # type: ignore[misc]
        accuracy = {f"{name}_accuracy": subject.accuracy(subject.sets[name]) for name in ("train", "test")}
        yield {"metric": f"Hamming, {subject.name}"} | row | accuracy


def table_4(subject: Subject, distances: tuple[float, ...]) -> Iterator[Row]:
    """Mean and deviation of the Hamming distance over a step of fixed length, by set and by law of the direction."""
    training = subject.sets["train"]
    for name, data in steps(list(subject.sets.items()), f"steps {subject.name}"):
        start = subject.bits(data.x)
        towards = training.x[nearest_inputs(data.x, training.x, itself=name == "train")]
        laws = {
            "isotropic": data.draws.stream("isotropic").normal(*data.x.shape[1:]).double(),
            "nearest": towards.double() - data.x.double(),
        }
        for law, direction in laws.items():
            norm = direction.flatten(1).norm(dim=1).clamp_min(1e-12)
            unit = direction / norm.reshape(-1, *[1] * (direction.ndim - 1))
            row: Row = {"network": subject.name, "set": name, "direction": law}
            for distance in distances:
                flips = (subject.bits(data.x.double() + distance * unit) != start).sum(1).double()
                row |= {f"mean_{distance:g}": float(flips.mean()), f"sd_{distance:g}": float(flips.std(correction=0))}
            yield row


def table_5(subject: Subject, pairs: int) -> tuple[list[Row], Row]:
    """Six pairs of neighbours in Hamming distance, from near to far, and what holds of all the first `pairs`."""
    x = subject.sets["train"].x.double()
    bits = subject.bits(x)
    distance, other = (column[:pairs] for column in nearest_others(bits))
    met = crossings(subject.network, x[: len(other)], x[other])
    flips = _flips(met)
    order = distance.argsort(stable=True)
    chosen = [int(order[(2 * i + 1) * len(order) // 12]) for i in range(6)]
    rows = [
        {
            "hamming": int(distance[i]),
            "cells": int(met.number[i]) + 1,
            "cells_by_bisection": len(bisection(subject.network, x[i], x[other[i]])),
            "flips": int(flips[i]),
        }
        for i in chosen
    ]
    return rows, {
        "network": subject.name,
        "pairs": len(other),
        "parity_holds": float((flips % 2 == distance % 2).double().mean()),
        "hamming_is_flips": float((flips == distance).double().mean()),
        "mean_hamming": float(distance.double().mean()),
        "mean_cells": float(met.number.double().mean()) + 1,
    }


def figure_4(subjects: list[Subject], pairs: int) -> Iterator[Row]:
    """Cells between neighbours in l2 against the number of layers, over the first `pairs` training inputs."""
    if not subjects:
        return
    x = subjects[0].sets["train"].x
    other = nearest_inputs(x, x, itself=True)[:pairs]
    for subject in steps(subjects, "segments"):
        cells = crossings(subject.network, x[: len(other)], x[other]).number + 1
        row = {"network": subject.name, "pairs": len(other), "mean": float(cells.double().mean())}
        yield row | {"max": int(cells.max()), "min": int(cells.min())}


def table_2(subject: Subject, images: int) -> Row:
    """Facets of the cells of the first training images, in the whole space, and seconds a cell."""
    counts, seconds = [], []
    for x in steps(subject.sets["train"].x[:images], f"facets {subject.name}"):
        start = time.perf_counter()
        counts.append(float(active_bits(halfspaces(subject.network, x)).active.sum()))
        seconds.append(time.perf_counter() - start)
    units = subject.bits(subject.sets["train"].x[:1]).shape[1]
    return {"network": subject.name, "units": units, "images": images} | spread(counts) | {"seconds": mean(seconds)}


def table_6(subject: Subject, balls: int) -> Iterator[Row]:
    """Radii of the largest balls in the cells of the first inputs of each set, in the box [0, 1] and without it."""
    for name, data in steps(list(subject.sets.items()), f"balls {subject.name}"):
        cells = [halfspaces(subject.network, x) for x in data.x[:balls]]
        boxed = [chebyshev_center(cell, box=(0.0, 1.0)).radius for cell in cells]
        free = torch.tensor([chebyshev_center(cell).radius for cell in cells])
        row = {"network": subject.name, "set": name, "inputs": len(cells)} | spread(boxed)
        nearest = mean([_room(cell) for cell in cells])
        yield row | {"unbounded_without_box": float(free.isinf().double().mean()), "nearest_plane": nearest}


def spread(values: list[float]) -> Row:
    """Mean, deviation (ddof 0), largest and smallest."""
    numbers = torch.tensor(values, dtype=torch.float64)
    deviation = float(numbers.std(correction=0))
    return {"mean": float(numbers.mean()), "sd": deviation, "max": max(values), "min": min(values)}


def _room(cell: Halfspaces) -> float:
    """How far the cell's own point is from the nearest of its planes."""
    assert cell.point is not None, "cells of inputs have one"
    norms = cell.normals.norm(dim=1)
    slack = cell.offsets - cell.normals @ cell.point
    return float((slack[norms > 0] / norms[norms > 0]).min())


def _flips(met: Crossings) -> Tensor:
    """How often a unit flips on each segment, (B,)."""
    return torch.bincount(met.segment[met.crossing], minlength=len(met.number))
