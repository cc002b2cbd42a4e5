"""Fitting a diffusion map: bandwidth, dimension, components of the graph, eigenfunctions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geometry.manifolds._dimension import require_dimension
from geometry.manifolds._eigenbasis import eigenbasis
from geometry.manifolds._kernel import ALL_PAIRS, Neighborhoods, neighborhoods, size_of_graph
from geometry.manifolds._neighbors import require_neighbors, squared_distances
from geometry.manifolds._rows import Data, State, points, require_positive, shape_tensor

Floats = NDArray[np.float64]
Matrix = Floats | scipy.sparse.csr_matrix


@dataclass(frozen=True)
class Options:
    """What the parts that rest on a diffusion map leave to be chosen; variable: the bandwidth follows the data's density."""

    eigenfunctions: int
    neighbors: int
    dim: int | None
    bandwidth: float | None
    graph_neighbors: int | None
    variable: bool


def fit_diffusion(data: Data, options: Options) -> State:
    """Eigenfunctions of the data's diffusion, with all that extends them to new inputs; float64.

    Warns where the graph of nearest neighbours falls into components, with their sizes. Raises ValueError for no more
    points than neighbors, for points with that many copies, for numbers that are not finite, for a dim larger than the
    number of features, and for more eigenfunctions than the data allow.
    """
    given = points(data)
    require_neighbors(options.neighbors, len(given))
    center = given.mean(0)
    known = given - center
    graph = size_of_graph(len(known), neighbors=options.neighbors, wanted=options.graph_neighbors)
    near = neighborhoods(known, neighbors=options.neighbors, graph_neighbors=graph)
    all_pairs = options.graph_neighbors is None and len(known) <= ALL_PAIRS
    scales = near.scales(options.neighbors) if options.variable else None
    bandwidth = _bandwidth(near, scales, options)
    squared = _scaled(known, near, scales, all_pairs=all_pairs, graph=graph)
    kernel, estimate = _weights(squared, bandwidth), _dimension(squared, bandwidth)
    density = np.ones(len(known)) if options.variable else np.asarray(kernel.sum(1), dtype=np.float64).ravel()
    basis = eigenbasis(_divided(kernel, density), options.eigenfunctions)
    dim = round(estimate) if options.dim is None else options.dim
    most = min(known.shape[1], options.eigenfunctions - 1)
    dim = min(max(dim, 1), most) if options.dim is None else dim
    require_dimension(dim, most, f"there are {known.shape[1]} features and {options.eigenfunctions} eigenfunctions")
    state = {
        "points": given,
        "bandwidth": torch.tensor(bandwidth, dtype=torch.float64),
        "density": torch.from_numpy(density),
        "eigenvalues": torch.from_numpy(basis.eigenvalues),
        "functions": torch.from_numpy(np.ascontiguousarray(basis.functions)),
        "weights": torch.from_numpy(basis.weights),
        "components": torch.from_numpy(_components(near, options.neighbors)),
        "dim": torch.tensor(dim),
        "graph_neighbors": torch.tensor(graph),
        "dimension_estimate": torch.tensor(estimate, dtype=torch.float64),
        "scales": near.scales(options.neighbors),
        "shape": shape_tensor(data.x),
    }
    if not all_pairs:
        state["reach"] = Neighborhoods(near.distances[:, : graph + 1], near.indices).reach()
    return {name: value.to(given.device) for name, value in state.items()}


def _bandwidth(near: Neighborhoods, scales: Tensor | None, options: Options) -> float:
    """As given, or the mean squared distance to the nearest neighbours, in local scales where the bandwidth is variable."""
    if options.bandwidth is not None:
        require_positive(bandwidth=options.bandwidth)
        return options.bandwidth
    chosen = slice(1, options.neighbors)
    squared = near.distances[:, chosen].square()
    if scales is not None:
        squared = squared / (scales[:, None] * scales[near.indices[:, chosen]])
    return float(squared.mean())


def _scaled(known: Tensor, near: Neighborhoods, scales: Tensor | None, *, all_pairs: bool, graph: int) -> Matrix:
    """Squared distances in local scales, dense or between neighbours in either direction; 0 is kept as an entry."""
    if all_pairs:
        squared = squared_distances(known, known)
        squared = squared if scales is None else squared / (scales[:, None] * scales)
        return np.asarray(squared.cpu().numpy())
    columns = near.indices[:, :graph]
    squared = near.distances[:, :graph].square()
    squared = squared if scales is None else squared / (scales[:, None] * scales[columns])
    starts = np.arange(len(known) + 1) * graph
    entries = squared.cpu().numpy().ravel() + 1.0  # so that a distance of 0 is stored
    directed = scipy.sparse.csr_matrix((entries, columns.cpu().numpy().ravel(), starts), shape=(len(known), len(known)))
    both = directed.maximum(directed.T).tocsr()
    both.data -= 1.0
    return both


def _weights(squared: Matrix, bandwidth: float) -> Matrix:
    if isinstance(squared, np.ndarray):
        return np.asarray(np.exp(squared / (-2 * bandwidth)))
    kernel = squared.copy()
    kernel.data = np.exp(squared.data / (-2 * bandwidth))
    return kernel


def _dimension(squared: Matrix, bandwidth: float) -> float:
    """2 d log S / d log bandwidth with S the sum of the kernel over pairs of different points (Berry & Harlim 2016)."""
    entries = squared if isinstance(squared, np.ndarray) else squared.data
    ratio = entries / bandwidth
    weights = np.exp(-ratio / 2)
    return float((ratio * weights).sum() / max(weights.sum() - squared.shape[0], np.finfo(np.float64).tiny))


def _divided(kernel: Matrix, density: Floats) -> Matrix:
    """The kernel divided by the density at both ends."""
    if isinstance(kernel, np.ndarray):
        return kernel / (density[:, None] * density)
    scale = scipy.sparse.diags(1 / density)
    return scipy.sparse.csr_matrix(scale @ kernel @ scale)


def _components(near: Neighborhoods, neighbors: int) -> NDArray[np.int64]:
    """Each point's component (N,) of the graph that joins nearest neighbours; warns where there are several."""
    number = len(near.indices)
    columns = near.indices[:, :neighbors].cpu().numpy().ravel()
    starts = np.arange(number + 1) * neighbors
    graph = scipy.sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape=(number, number))
    count, labels = connected_components(graph, directed=False)
    if count > 1:
        sizes = sorted(np.bincount(labels).tolist(), reverse=True)
        warnings.warn(
            f"the graph of {neighbors} nearest neighbours has {count} components, of {_listed(sizes)} points: the manifold "
            "is in pieces, and dimension and tangents are those of all pieces together; fit them apart or raise neighbors",
            stacklevel=4,
        )
    return labels.astype(np.int64)


def _listed(sizes: list[int]) -> str:
    return ", ".join(str(size) for size in sizes[:8]) + (", ..." if len(sizes) > 8 else "")
