"""The conformally invariant diffusion map: a kernel whose bandwidth follows the density of the data."""

from __future__ import annotations

from dataclasses import dataclass

from geometry.manifolds._diffusion import DiffusionManifold, load_diffusion
from geometry.manifolds._diffusion_fit import Options, fit_diffusion
from geometry.manifolds._rows import Data, State
from geometry.manifolds.carre_du_champ import carre_du_champ_tangents


@dataclass(frozen=True)
class ConformallyInvariantDiffusionMap:
    """Diffusion with the kernel exp(-d^2 / (2 bandwidth rho(x) rho(y))), rho the mean distance to the nearest `neighbors`.

    eigenfunctions: their number is the resolution. dim: estimated from the kernel where it is None. bandwidth: without
    unit; None is the mean of d^2 / (rho rho) over those neighbours. graph_neighbors: pairs beyond so many neighbours of
    both points have no weight; None keeps all pairs up to 3,000 points, and log(N)^2 neighbours beyond.
    beyond_nearest: distances are those from about the foot of an input's perpendicular, which changes nothing on the manifold
    and keeps the projection by the nearest point at any distance; False is the printed extension, which goes astray far
    outside and ends in one place.
    Tangents are those of the carre du champ. Mahler et al. 2024, section 1.1.1; Berry & Sauer 2019.
    """

    eigenfunctions: int = 50
    neighbors: int = 20
    dim: int | None = None
    bandwidth: float | None = None
    graph_neighbors: int | None = None
    beyond_nearest: bool = True

    def fit(self, data: Data) -> State:
        """Eigenfunctions of the data and what extends them; warns and raises as `fit_diffusion` does."""
        options = Options(
            self.eigenfunctions, self.neighbors, self.dim, self.bandwidth, self.graph_neighbors, variable=True
        )
        return fit_diffusion(data, options)

    def load(self, state: State) -> DiffusionManifold:
        """The fitted manifold."""
        return load_diffusion(
            state,
            neighbors=self.neighbors,
            variable=True,
            tangents=carre_du_champ_tangents,
            beyond_nearest=self.beyond_nearest,
        )
