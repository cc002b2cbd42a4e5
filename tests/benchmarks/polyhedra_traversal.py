"""Cells, crossings and Hamming distances beside the paper's way and other tools: `python tests/benchmarks/polyhedra_traversal.py`.

One thread, process time, medians of rounds in one run. The paper's way is algorithm 1 of Liu et al. 2023 with one cvxpy program
for each row of each cell, its algorithm 2 (repaired), and scipy's `cdist`. Edge subdivision (Berzins 2023, float32, generic
networks only) runs too where `--edge-subdivision` names a copy of its repository, and relucent 1.0 (exact, generic networks
only) where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import math
import resource
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from geometry.polyhedra._network import dense_layers
from geometry.polyhedra.bisection import bisection
from geometry.polyhedra.convex_programs import is_active
from geometry.polyhedra.crossings import crossings
from geometry.polyhedra.halfspaces import pattern_halfspaces
from geometry.polyhedra.hamming_distances import hamming_distances
from geometry.polyhedra.traverse import traverse

BOX = (-1.0, 1.0)
PATTERNS, BITS, SHARE = 10_000, 1024, 20  # cdist measures a share of the rows


def plain(*widths: int, seed: int = 0) -> nn.Sequential:
    """Layers of torch's default start, ReLUs between them, in float64."""
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*modules[:-1]).double()


def toy(*widths: int, offset: float) -> nn.Sequential:
    """A network trained for some seconds on the paper's |x|^2 - offset in the box."""
    network = plain(*widths)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    x = torch.rand(4096, widths[0], dtype=torch.float64) * 2 - 1
    for _ in range(400):
        loss = (network(x)[:, 0] - x.square().sum(1) + offset).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def timed(run: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Median process seconds, and the last result."""
    seconds, result = [], None
    for _ in range(rounds):
        del result  # two together are no measure of memory
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def papers_traversal(network: nn.Module, start: Tensor) -> set[tuple[int, ...]]:
    """Algorithm 1 in the box: flip every active bit of every cell, each found by a cvxpy program of its own."""
    first = tuple(pattern(network, start).tolist())
    found, queue = {first}, deque([first])
    while queue:
        bits = queue.popleft()
        cell = pattern_halfspaces(network, torch.tensor(bits))
        for unit in range(len(bits)):
            if not cell.normals[unit].any():
                continue
            flipped = (*bits[:unit], 1 - bits[unit], *bits[unit + 1 :])
            if is_active(cell, unit, box=BOX) and flipped not in found:
                found.add(flipped)
                queue.append(flipped)
    return found


def pattern(network: nn.Module, x: Tensor) -> Tensor:
    bits, activations = [], x
    for weight, bias in dense_layers(network)[:-1]:
        heights = activations @ torch.from_numpy(weight).T + torch.from_numpy(bias)
        bits.append(heights > 0)
        activations = heights.clamp_min(0)
    return torch.cat(bits).int()


def edge_subdivision(folder: Path, network: nn.Sequential) -> tuple[float, int]:
    """Seconds of the other tool for the hidden layers in the box, and the number of cells that its sign vectors name."""
    sys.path.insert(0, str(folder))
    from edge_subdivision import skeletal_subdivision  # type: ignore[import-not-found]
    from NN import Net  # type: ignore[import-not-found]

    linear = [module for module in network if isinstance(module, nn.Linear)][:-1]
    other = Net(ks=[linear[0].in_features, *(module.out_features for module in linear)])
    for mine, theirs in zip(linear, other.fcs, strict=True):
        theirs.load_state_dict({name: value.float() for name, value in mine.state_dict().items()})
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        seconds, (_, _, signs) = timed(lambda: skeletal_subdivision(other, bbox=BOX, device=torch.device("cpu")), 3)
    signs = signs[:, 2 * linear[0].in_features :].numpy()
    cells = set()
    for row in signs:
        zeros = np.flatnonzero(row == 0)
        for signs_there in itertools.product((1, -1), repeat=len(zeros)):
            row[zeros] = signs_there
            cells.add(row.tobytes())
    return seconds, len(cells)


def beside_relucent(network: nn.Module) -> str:
    """Cells of the whole space and wall seconds of relucent (Gurobi; all processors), where it is installed."""
    if find_spec("relucent") is None:
        return ""
    relucent = import_module("relucent")
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        complex_ = relucent.Complex(relucent.convert(network))
        complex_.bfs()
    return f"; relucent {len(complex_)} in {time.perf_counter() - start:.1f} s of wall time"


def show_traversal(rounds: int, folder: Path | None) -> None:
    print(f"{'traversal in the box':28}{'cells':>8}{'seconds':>10}{'cvxpy':>10}{'ratio':>8}   the same cells")
    for network, name in (
        (toy(2, 10, 10, 1, offset=0.4), "2-10-10-1"),
        (toy(3, 10, 10, 10, 1, offset=3.0), "3-10-10-10-1"),
    ):
        seconds, cells = timed(lambda network=network: traverse(network, BOX), rounds)
        slow, found = timed(lambda network=network, cells=cells: papers_traversal(network, cells.points[0]), 1)
        same = found == {tuple(bits) for bits in cells.patterns.int().tolist()}
        print(f"{name:28}{len(cells):8}{seconds:10.4f}{slow:10.1f}{slow / seconds:8.0f}   {same} ({len(found)})")
        seconds, cells = timed(lambda network=network: traverse(network), rounds)
        beside = beside_relucent(network) if len(cells) < 1000 else ""
        print(f"{name + ', whole space':28}{len(cells):8}{seconds:10.4f}   {int(cells.bounded.sum())} bounded{beside}")
    print(f"\n{'growth in the box':28}{'cells':>8}{'seconds':>10}   edge subdivision: seconds, cells")
    sizes, times = [], []
    for width in (20, 40, 80, 160):
        network = plain(2, width, width, 1)
        network[0].bias.data *= 0.5  # more of the lines meet the box
        seconds, cells = timed(lambda network=network: traverse(network, BOX), rounds)
        sizes.append(len(cells))
        times.append(seconds)
        beside = "{:10.4f}{:8}".format(*edge_subdivision(folder, network)) if folder and width < 160 else ""
        print(f"{f'2-{width}-{width}-1':28}{len(cells):8}{seconds:10.4f}   {beside}")
    exponent = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    last = math.log(times[-1] / times[-2]) / math.log(sizes[-1] / sizes[-2])
    print(f"seconds grow with the cells to the power {exponent:.2f} (the last step: {last:.2f})")
    if folder:
        network = plain(3, 16, 16, 16, 1)
        seconds, cells = timed(lambda: traverse(network, BOX), rounds)
        other, number = edge_subdivision(folder, network)
        print(f"{'3-16-16-16-1':28}{len(cells):8}{seconds:10.4f}   {other:10.4f}{number:8}")


def show_crossings(rounds: int, pairs: int) -> None:
    print(
        f"\n{'crossings of a segment':28}{'mean':>8}{'seconds':>10}{'bisection':>10}{'ratio':>8}   {pairs} pairs: seconds"
    )
    for widths in ((784, 100, 100, 10), (784, *[300] * 5, 10)):
        network = plain(*widths)
        a, b = torch.rand(2, pairs, 784, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        seconds, found = timed(lambda network=network, a=a, b=b: crossings(network, a, b), rounds)
        slow = [timed(lambda i=i, network=network, a=a, b=b: bisection(network, a[i], b[i]), 1) for i in range(8)]
        reading = timed(lambda network=network: dense_layers(network), rounds)[0]
        each = statistics.median(one for one, _ in slow) - reading
        ratio = each / (seconds / pairs)
        print(
            f"{'-'.join(map(str, widths)):28}{found.number.double().mean():8.1f}{seconds / pairs:10.5f}{each:10.4f}{ratio:8.0f}"
            f"   {seconds:.2f}; bisection counts {[len(cells) - 1 for _, cells in slow]}, all: {found.number[:8].tolist()}"
        )


def show_hamming(rounds: int) -> None:
    a, b = torch.rand(2, PATTERNS, BITS, generator=torch.Generator().manual_seed(2)) < 0.5
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, found = timed(lambda: hamming_distances(a, b), rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    few = a[: PATTERNS // SHARE].numpy()
    slow, expected = timed(lambda: cdist(few, b.numpy(), "hamming") * BITS, 1)
    same = bool((np.rint(expected) == found[: len(few)].numpy()).all())
    print(
        f"\nHamming {PATTERNS} x {PATTERNS} at {BITS} bits: {seconds:.2f} s, peak {peak:.2f} GiB, {before:.2f} of it before"
    )
    print(
        f"cdist, {SHARE} times a part of the rows: {slow * SHARE:.1f} s; ratio {slow * SHARE / seconds:.0f}, equal: {same}"
    )


def main() -> None:
    """Print the tables; Hamming distances in a process of their own, for its peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1000, help="segments cut together (default 1000)")
    parser.add_argument("--edge-subdivision", type=Path, default=None, help="folder of relu_edge_subdivision")
    parser.add_argument("--hamming", action="store_true", help="only the Hamming distances")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.hamming:
        show_hamming(given.rounds)
        return
    show_traversal(given.rounds, given.edge_subdivision)
    show_crossings(given.rounds, given.pairs)
    sys.stdout.flush()
    subprocess.run([sys.executable, __file__, "--hamming", "--rounds", str(given.rounds)], check=True)


if __name__ == "__main__":
    main()
