"""Networks on the plane: what Figures 3 to 6 and 9 to 10 of Sattelberg et al. 2023 show, as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from geometry.polyhedra.activation_pattern import activation_pattern
from geometry.polyhedra.local_maps import map_outputs, map_rows, row_maps
from geometry.polyhedra.traverse import traverse
from harness.progress import steps
from leaderboard.papers._sattelberg_networks import (
    Points,
    circle_and_ring,
    exclusive_or,
    grid,
    on_grid,
    plane,
    train_plane,
)

Row = dict[str, Any]

POINTS = 100_000
SOLVED = 0.98  # accuracy above which the authors' code keeps a network


def exclusive_or_networks() -> Iterator[Row]:
    """Figures 3 and 4: the network of equation 2, and trained ones with one hidden layer of 2, 20 and 100."""
    yield {"network": "equation 2"} | _counts(equation_2())
    for width in (2, 20, 100):
        network = _trained((2, width, 2), exclusive_or(POINTS), seed=0)
        points = exclusive_or(10_000)
        yield {"network": f"2-{width}-2"} | _counts(network) | {"accuracy": _accuracy(network, points)}


def mapped_exclusive_or() -> list[Row]:
    """Figure 6: two networks 2-20-2 mapped into each other on the grid."""
    networks = [_trained((2, 20, 2), exclusive_or(POINTS), seed=seed) for seed in (0, 1)]
    points = grid()
    rows = [map_rows(network, points) for network in networks]
    found = []
    for a, b in ((0, 1), (1, 0)):
        mapped = row_maps(rows[a], rows[b])(rows[a])
        error = (mapped - rows[b]).square().sum() / (rows[b] - rows[b].mean(0)).square().sum()
        same = map_outputs(mapped, points).argmax(1) == map_outputs(rows[b], points).argmax(1)
        found.append({"from": a + 1, "to": b + 1, "r2": float(1 - error), "same_class": float(same.double().mean())})
    return found


def circles(runs: int) -> Iterator[Row]:
    """Figures 5, 9 and 10: networks on the disc against the ring; how many solve it, and how many maps these have."""
    test = on_grid()
    for widths in ((2, 3, 2), (2, 8, 8, 8, 2)):
        name = "-".join(map(str, widths))
        rows = []
        for seed in steps(range(runs), f"circles {name}"):
            network = _trained(widths, circle_and_ring(POINTS), seed=seed)
            rows.append({"accuracy": _accuracy(network, test)} | _counts(network))
        solved = [row for row in rows if row["accuracy"] > SOLVED]
        failed = [row for row in rows if row["accuracy"] <= SOLVED]
        yield {
            "network": name,
            "runs": runs,
            "solved": len(solved),
            "accuracy_of_failed": _mean(failed, "accuracy"),
            "cells_in_box": _mean(solved, "cells_in_box"),
            "patterns_on_grid": _mean(solved, "patterns_on_grid"),
            "maps_on_grid": _mean(solved, "maps_on_grid"),
        }


def equation_2() -> nn.Sequential:
    """The paper's hand-made network for the exclusive or."""
    network = plane((2, 2, 1)).double().requires_grad_(False)
    values = ([[1.0, 1.0], [1.0, 1.0]], [1.0, 0.0], [[2.0, -4.0]], [-1.0])
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.copy_(torch.tensor(value, dtype=torch.float64))
    return network


def _trained(widths: tuple[int, ...], data: Points, *, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return train_plane(plane(widths), data, epochs=1)


def _counts(network: nn.Module) -> Row:
    """Cells in the plane and in the box; patterns and maps (to six digits) on the grid."""
    points = grid()
    rows = map_rows(network, points)
    digits = (rows / rows.abs().max()).round(decimals=6).flatten(1)
    return {
        "cells": len(traverse(network)),
        "cells_in_box": len(traverse(network, (-1.0, 1.0))),
        "patterns_on_grid": len(torch.unique(activation_pattern(network, points), dim=0)),
        "maps_on_grid": len(torch.unique(digits, dim=0)),
    }


@torch.no_grad()
def _accuracy(network: nn.Module, points: Points) -> float:
    outputs: Tensor = network(points.x.double())
    return float((outputs.argmax(1) == points.y).double().mean())


def _mean(rows: list[Row], name: str) -> float | None:
    return sum(row[name] for row in rows) / len(rows) if rows else None
