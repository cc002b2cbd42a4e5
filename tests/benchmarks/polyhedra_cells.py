"""Radii and active bits beside the paper's cvxpy way, on the same cells: `python tests/benchmarks/polyhedra_cells.py`.

Networks 784-100-100, 3 x 200 and 5 x 300 on MNIST, cells of test images, one thread, process time, medians over cells.
cvxpy's active bits are timed on a few rows and multiplied by their number; a row at 5 x 300 takes it most of a minute.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from geometry.polyhedra.active_bits import active_bits
from geometry.polyhedra.chebyshev_center import chebyshev_center
from geometry.polyhedra.convex_programs import chebyshev_radius, is_active
from geometry.polyhedra.halfspaces import Halfspaces, halfspaces

WIDTHS = {"2x100": (100,) * 2, "3x200": (200,) * 3, "5x300": (300,) * 5}
CAP = 1e3
Result = TypeVar("Result")


def trained(name: str, x: Tensor, y: Tensor) -> nn.Module:
    """The network of a name, trained once for four passes over the images and kept."""
    torch.manual_seed(0)
    widths = (784, *WIDTHS[name])
    hidden = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], 10))
    path = Path(os.environ.get("HARNESS_HOME", "runs")) / "benchmarks" / f"mnist_{name}.pt"
    if path.is_file():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(4):
        for rows in torch.split(torch.randperm(len(x)), 100):
            optimizer.zero_grad()
            cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return network.eval()


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of process time, and what the function gives."""
    began = time.process_time()
    result = function()
    return time.process_time() - began, result


def radii(
    cells: list[Halfspaces], number: int, box: tuple[float, float] | None
) -> tuple[list[float], list[float], float]:
    """Seconds of ours and of the paper's way on `number` cells, and the largest difference of the radii, capped."""
    ours = [timed(lambda cell=cell: chebyshev_center(cell, box=box)) for cell in cells]
    theirs = [timed(lambda cell=cell: chebyshev_radius(cell, box=box, cap=CAP)) for cell in cells[:number]]
    errors = [abs(min(a[1].radius, CAP) - b[1]) / max(1.0, b[1]) for a, b in zip(ours, theirs, strict=False)]
    return [seconds for seconds, _ in ours], [seconds for seconds, _ in theirs], max(errors)


def facets(cell: Halfspaces, rows: list[int]) -> tuple[float, float, int, int]:
    """Seconds of ours, of the paper's way (sampled rows times their number), facets, and sampled rows that disagree."""
    seconds, found = timed(lambda: active_bits(cell))
    theirs = [timed(lambda row=row: is_active(cell, row)) for row in rows]
    wrong = sum(answer != bool(found.active[row]) for row, (_, answer) in zip(rows, theirs, strict=True))
    each = statistics.median(seconds for seconds, _ in theirs)
    return seconds, each * len(cell.offsets), int(found.active.sum()), wrong


def line(name: str, task: str, ours: float, theirs: float, note: str) -> None:
    """Print a line of the table."""
    print(f"{name:<7}{task:<14}{theirs:10.3f}{ours:10.4f}{theirs / ours:9.0f}  {note}", flush=True)


def main() -> None:
    """Print the table."""
    from harness.datasets.mnist import MNIST

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(WIDTHS), choices=list(WIDTHS))
    parser.add_argument("--cells", type=int, default=9, help="cells for our radii (default 9)")
    parser.add_argument("--paper", type=int, default=3, help="cells of them for cvxpy's radii (default 3)")
    parser.add_argument("--active", nargs="*", default=list(WIDTHS), help="networks whose active bits are timed")
    parser.add_argument("--rows", type=int, default=3, help="rows for cvxpy's active bits (default 3)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    train, test = MNIST().split("train"), MNIST().split("test")
    print(f"{'net':<7}{'task':<14}{'cvxpy s':>10}{'ours s':>10}{'ratio':>9}")
    for name in given.networks:
        network = trained(name, train.x, train.y)
        cells = [halfspaces(network, x) for x in test.x[: given.cells]]
        for task, box in (("radius, box", (0.0, 1.0)), ("radius, whole", None)):
            ours, theirs, error = radii(cells, given.paper, box)
            line(name, task, statistics.median(ours), statistics.median(theirs), f"largest difference {error:.1e}")
        if name in given.active:
            rows = torch.linspace(0, len(cells[0].offsets) - 1, given.rows).long().tolist()
            seconds, paper, number, wrong = facets(cells[0], rows)
            line(
                name,
                "active bits",
                seconds,
                paper,
                f"{number} of {len(cells[0].offsets)}, {wrong} of {len(rows)} differ",
            )


if __name__ == "__main__":
    main()
