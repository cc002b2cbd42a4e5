"""Diffusion maps: a kernel of one bandwidth, the density of the data divided out."""

from __future__ import annotations

from dataclasses import dataclass

from geometry.manifolds._diffusion import DiffusionManifold, load_diffusion
from geometry.manifolds._diffusion_fit import Options, fit_diffusion
from geometry.manifolds._rows import Data, State
from geometry.manifolds.carre_du_champ import carre_du_champ_tangents


@dataclass(frozen=True)
class DiffusionMaps:
    """Diffusion with the kernel K = exp(-d^2 / (2 bandwidth)), normalised to D^-1 K D^-1.

    eigenfunctions: their number is the resolution. dim: estimated from the kernel where it is None. bandwidth: a squared
    distance; None is the mean of d^2 over the nearest `neighbors`. graph_neighbors: pairs beyond so many neighbours of
    both points have no weight; None keeps all pairs up to 3,000 points, and log(N)^2 neighbours beyond.
    Tangents are those of the carre du champ. Coifman & Lafon 2006, section 3; Mahler et al. 2024, section 1.1.
    """

    eigenfunctions: int = 50
    neighbors: int = 20
    dim: int | None = None
    bandwidth: float | None = None
    graph_neighbors: int | None = None

    def fit(self, data: Data) -> State:
        """Eigenfunctions of the data and what extends them; warns and raises as `fit_diffusion` does."""
        return fit_diffusion(data, Options(**vars(self), variable=False))

    def load(self, state: State) -> DiffusionManifold:
        """The fitted manifold."""
        return load_diffusion(state, neighbors=self.neighbors, variable=False, tangents=carre_du_champ_tangents)
