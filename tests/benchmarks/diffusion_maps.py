"""Diffusion maps beside other libraries, in one run: `python tests/benchmarks/diffusion_maps.py`.

One thread, process time, medians of rounds. Fitting: scikit-learn's SpectralEmbedding on as many neighbours, pydiffmap
where it is installed, and PySEC where `--pysec` names a copy of its repository, all up to 5,000 points and once. Tangents:
of circles, in five seeds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import ceil, log, pi
from typing import Any

import torch
from sklearn.manifold import SpectralEmbedding
from torch import Tensor

from geometry.manifolds.conformally_invariant_diffusion_map import ConformallyInvariantDiffusionMap
from geometry.manifolds.local_pca import LocalPCA
from geometry.manifolds.spectral_exterior_calculus import SpectralExteriorCalculus, smoothest_fields
from harness.datasets.fashion_mnist import FashionMNIST

FUNCTIONS = 50
SEEDS = 5


@dataclass(frozen=True)
class Inputs:
    x: Tensor


def seconds(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Median process time of a call, and its last answer."""
    taken, answer = [], None
    for _ in range(rounds):
        start = time.process_time()
        answer = call()
        taken.append(time.process_time() - start)
    return statistics.median(taken), answer


def show(what: str, **figures: float) -> None:
    print(f"{what:52s}" + "  ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)


def gibibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def fits(images: Tensor, number: int, rounds: int, pysec: Any) -> None:
    """Time of a fit on the first images, with the error of the extension at the data."""
    x = images[:number].double()
    graph = ceil(log(number) ** 2)
    part = ConformallyInvariantDiffusionMap(eigenfunctions=FUNCTIONS, graph_neighbors=graph)
    taken, state = seconds(lambda: part.fit(Inputs(x)), rounds)
    manifold = part.load(state)
    error = float((manifold.encode(x[:500]) - manifold.diffusion.functions[:500]).abs().max())
    show(f"conformally invariant, N = {number}", seconds=taken, error_at_data=error, peak_GiB=gibibytes())
    if pysec is not None and number <= 5000:
        taken, found = seconds(lambda: pysec.cidm(x.flatten(1), nvars=FUNCTIONS), 1)
        extended = pysec.nystrom(x[:500].flatten(1), found[-1])[0]
        show(f"PySEC, N = {number}", seconds=taken, error_at_data=float((extended - found[0][:500]).abs().max()))
    if number <= 5000:
        embedding = SpectralEmbedding(FUNCTIONS - 1, affinity="nearest_neighbors", n_neighbors=graph, random_state=0)
        taken, _ = seconds(lambda: embedding.fit(x.flatten(1).numpy()), 1)
        show(f"scikit-learn's SpectralEmbedding, N = {number}", seconds=taken)
    if number <= 5000 and find_spec("pydiffmap"):
        rival = import_module("pydiffmap.diffusion_map").DiffusionMap.from_sklearn(
            n_evecs=FUNCTIONS - 1, k=graph, epsilon="bgh", bandwidth_type="-1/(d+2)"
        )
        taken, _ = seconds(lambda: rival.fit(x.flatten(1).numpy()), 1)
        extended = rival.transform(x[:500].flatten(1).numpy())
        error = float(abs(extended - rival.dmap[:500]).max())
        show(f"pydiffmap, N = {number}", seconds=taken, error_at_data=error)


def projections(images: Tensor, number: int, rounds: int) -> None:
    """Time of projecting 1,000 new images, and of the gradient through the projection."""
    part = ConformallyInvariantDiffusionMap(eigenfunctions=FUNCTIONS)
    manifold = part.load(part.fit(Inputs(images[:number])))
    new = images[-1000:].clone().requires_grad_()
    taken, _ = seconds(lambda: manifold.project(new).square().sum().backward(), rounds)
    show(f"projecting with gradient, N = {number}", milliseconds_each=taken)
    report = manifold.drift(new.detach())
    show(
        "  of these",
        drift=float(report.drift.median()),
        largest=float(report.drift.max()),
        distance=float(report.distance.median()),
    )


def fields(images: Tensor, number: int, rounds: int) -> None:
    """Time of the vector fields: 9 functions make them, 40 resolve their products."""
    part = SpectralExteriorCalculus(dim=2)
    taken, state = seconds(lambda: part.fit(Inputs(images[:number])), 1)
    manifold = part.load(state)
    asked, _ = seconds(lambda: manifold.tangent_basis(images[-100:]), rounds)
    diffusion = manifold.diffusion
    functions = diffusion.functions[:, :40]
    alone, _ = seconds(lambda: smoothest_fields(functions, diffusion.laplacian[:40], diffusion.weights), rounds)
    show(
        f"exterior calculus, N = {number}", seconds_to_fit=taken, fields_alone=alone, milliseconds_a_tangent=10 * asked
    )


def tangents(noise: float) -> None:
    """Worst and median |cos| with the circle's tangent, the worst and the median of five seeds."""
    kinds = {
        "local PCA": LocalPCA(dim=1),
        "carre du champ": ConformallyInvariantDiffusionMap(dim=1),
        "exterior calculus, 3 fields": SpectralExteriorCalculus(dim=1),
        "exterior calculus, 1 field": SpectralExteriorCalculus(dim=1, fields=1),
    }
    cosines: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        angle = 2 * pi * torch.rand(500, generator=generator, dtype=torch.float64)
        radius = 1 + noise * torch.randn(500, generator=generator, dtype=torch.float64)
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        true = torch.stack([-angle.sin(), angle.cos()], dim=1)
        for name, part in kinds.items():
            basis = part.load(part.fit(Inputs(x))).tangent_basis(x)[:, :, 0]
            cosines[name].append((basis * true).sum(1).abs())
    for name, found in cosines.items():
        worst = [float(one.min()) for one in found]
        show(
            f"noise {noise:.0%}: {name}",
            worst=min(worst),
            median=statistics.median(float(one.median()) for one in found),
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=int, nargs="*", default=[2500, 5000, 10000, 20000])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--pysec", help="folder of a copy of the PySEC repository")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pysec = None
    if chosen.pysec:
        sys.path.insert(0, chosen.pysec)
        pysec = import_module("PySEC.nystrom_cidm")
    images = FashionMNIST().split("train").x[: max([*chosen.sizes, 0]) + 1000]
    for number in chosen.sizes:
        fits(images, number, chosen.rounds, pysec)
    for number in chosen.sizes[-1:]:
        projections(images, number, chosen.rounds)
        fields(images, number, chosen.rounds)
    for noise in (0.0, 0.05, 0.1):
        tangents(noise)


if __name__ == "__main__":
    main()
