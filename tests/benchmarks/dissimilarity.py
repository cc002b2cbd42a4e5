"""Correlation distances of many stimuli beside rsatoolbox and scipy, in one run: `python tests/benchmarks/dissimilarity.py`.

5,000 stimuli of 25,000 features by default, one thread, each in a process of its own: process time, peak memory above that of the
patterns (float64), largest difference from scipy. Then the gradient through the matrix of 512 stimuli, in milliseconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.representations._matrix import pair_vector
from geometry.representations.comparison import linear_cka, pearson
from geometry.representations.dissimilarity import dissimilarity_matrix, streamed_dissimilarity

Array = NDArray[np.float64]


def patterns(stimuli: int, features: int) -> Array:
    """The same numbers in every process, common directions and noise; made in blocks, so that the peak is that of the ways."""
    random = np.random.default_rng(0)
    directions, x = random.standard_normal((20, features)), np.empty((stimuli, features))
    for start in range(0, stimuli, 100):
        rows = x[start : start + 100]
        rows[:] = random.standard_normal((len(rows), 20)) @ directions + random.standard_normal(rows.shape)
    return x


def ours(x: Array, file: Path) -> Array:
    return pair_vector(dissimilarity_matrix(torch.from_numpy(x))).numpy()


def ours_single(x: Array, file: Path) -> Array:
    return pair_vector(dissimilarity_matrix(torch.from_numpy(x), dtype=torch.float32)).numpy().astype(np.float64)


def ours_from_file(x: Array, file: Path) -> Array:
    """The patterns in a file, half a gigabyte to work with, the matrix included."""
    stored = np.load(file, mmap_mode="c")
    read = lambda start, stop: torch.from_numpy(np.array(stored[start:stop]))  # noqa: E731
    return pair_vector(streamed_dissimilarity(read, len(stored), memory=1 << 29)).numpy()


def scipy(x: Array, file: Path) -> Array:
    from scipy.spatial.distance import pdist

    return np.asarray(pdist(x, "correlation"))


def rsatoolbox(x: Array, file: Path) -> Array:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    return np.asarray(calc_rdm(Dataset(x), method="correlation").dissimilarities[0])


WAYS: dict[str, Callable[[Array, Path], Array]] = {
    "scipy pdist": scipy,
    "rsatoolbox": rsatoolbox,
    "ours, float64": ours,
    "ours, float32": ours_single,
    "ours, from a file, 512 MiB": ours_from_file,
}


def measured(name: str, stimuli: int, features: int, folder: Path) -> None:
    torch.set_num_threads(1)
    file = folder / "patterns.npy"
    if "file" in name and not file.exists():
        np.save(file, patterns(stimuli, features))
    x = np.zeros((0, 0)) if "file" in name else patterns(stimuli, features)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, wall = time.process_time(), time.perf_counter()
    found = WAYS[name](x, file)
    taken, wall = time.process_time() - start, time.perf_counter() - wall
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    reference = folder / "scipy.npy"
    if name.startswith("scipy"):
        np.save(reference, found)
    error = float(np.abs(found - np.load(reference)).max())
    print(f"{name:28s} seconds {taken:8.1f}  wall {wall:8.1f}  GiB above {above:6.2f}  error {error:.2g}", flush=True)


def gradients(stimuli: int, rounds: int) -> None:
    """Forward and backward pass through the matrix and its similarity with a target."""
    generator = torch.Generator().manual_seed(0)
    target = dissimilarity_matrix(torch.randn(stimuli, 64, generator=generator))
    other = torch.randn(stimuli, 64, generator=generator)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "pearson": lambda x: pearson(dissimilarity_matrix(x), target),
        "linear CKA": lambda x: linear_cka(x, other),
    }
    for features in (128, 3136):
        x = torch.randn(stimuli, features, generator=generator).requires_grad_()
        for name, way in ways.items():
            taken = []
            for _ in range(rounds):
                start = time.perf_counter()
                torch.autograd.grad(way(x), x)
                taken.append(1000 * (time.perf_counter() - start))
            print(
                f"gradient, {stimuli} stimuli, {features} features, {name}: {statistics.median(taken):.1f} ms",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stimuli", type=int, default=5000)
    parser.add_argument("--features", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gradients(512, arguments.rounds)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name in WAYS:
            child = context.Process(target=measured, args=(name, arguments.stimuli, arguments.features, Path(folder)))
            child.start()
            child.join()


if __name__ == "__main__":
    main()
