"""Windows of views of a vehicle, their manifolds, and searches along these, from a start in each (Mahler et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from geometry.manifolds._diffusion import DiffusionManifold
from geometry.manifolds.spectral_exterior_calculus import SpectralExteriorCalculus
from harness.draws import CounterDraws
from harness.types import Budget, Draws, LatentManifold, Network, Outputs, View

FAR = 50.0  # local scales that no search is to leave: beyond the width of any window


class Renderer(Protocol):
    """A data set that can be asked for an image."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def look_down(self) -> tuple[float, float]: ...

    def render(self, labels: Tensor, parameters: Tensor, /) -> Tensor:
        """Images (N, *S) of labels (N,) at azimuth and look-down angle (N, 2) in degrees."""
        ...


@dataclass(frozen=True)
class Extent:
    """Which views a window holds: degrees of azimuth to either side of the start, look-down angles, and the step of both."""

    name: str
    azimuth: float
    look_down: tuple[float, float]
    step: float

    def grid(self, azimuth: float) -> Tensor:
        """The views about an azimuth, (N, 2); the start is one of them only if its look-down angle is."""
        low, high = self.look_down
        turns = torch.arange(-self.azimuth, self.azimuth + 1e-6, self.step) + azimuth
        return torch.cartesian_prod(turns, torch.arange(low, high + 1e-6, self.step))


@dataclass(frozen=True, eq=False)
class Window:
    """The manifold of a vehicle's images round a start; views (N, 2) and images (N, *S) that it is fitted to.

    fields are the state of its vector fields; scale is the mean distance of the start's image to the nearest others.
    """

    name: str
    y: Tensor
    start: Tensor
    x: Tensor
    views: Tensor
    images: Tensor
    manifold: DiffusionManifold
    fields: dict[str, Tensor]
    scale: float
    renderer: Renderer

    def labels(self, x: Tensor) -> Tensor:
        """Azimuth and look-down angle of inputs, by extension of the known ones: (B, *S) -> (B, 2)."""
        middle = self.views.double().mean(0)
        known = self.views.double() - middle
        return (self.manifold.extension(known)(x.double()) + middle).float()

    def real(self, views: Tensor) -> Tensor:
        """The vehicle's images at views (B, 2), look-down angles kept from 0 to 90: (B, *S)."""
        kept = torch.stack([views[:, 0], views[:, 1].clamp(0.0, 90.0)], dim=1)
        return self.renderer.render(self.y.expand(len(views)), kept)


@dataclass(frozen=True)
class Points:
    """Inputs that a manifold is fitted on."""

    x: Tensor


def kind_of(eigenfunctions: int, neighbors: int) -> SpectralExteriorCalculus:
    """The manifold of two parameters that a window gets."""
    return SpectralExteriorCalculus(
        eigenfunctions, neighbors, dim=2, product_functions=min(40, eigenfunctions), frame_functions=9
    )


def windows(
    renderer: Renderer, extent: Extent, kind: SpectralExteriorCalculus, *, starts: int, labels: Sequence[int]
) -> Iterator[Window]:
    """So many windows for each vehicle, about random starts inside the range of look-down angles trained on."""
    low, high = renderer.look_down
    for label in labels:
        drawn = torch.rand(starts, 2, generator=torch.Generator().manual_seed(label))
        for turn, down in drawn.tolist():
            yield window(renderer, extent, kind, label=label, start=(360 * turn, low + (high - low) * down))


def window(
    renderer: Renderer, extent: Extent, kind: SpectralExteriorCalculus, *, label: int, start: tuple[float, float]
) -> Window:
    """The window about a start."""
    views, y = extent.grid(start[0]), torch.tensor([label])
    images, at = renderer.render(y.expand(len(views)), views), torch.tensor([start])
    state = kind.fit(Points(images))
    x = renderer.render(y, at)
    near = (images - x).flatten(1).norm(dim=1).sort().values
    scale = float(near[: kind.neighbors].mean())
    return Window(extent.name, y, at[0], x, views, images, kind.load(state), state, scale, renderer)


@dataclass
class Watched:
    """A forward pass that keeps what it is asked for; misled, its gradients are random directions, its values are not."""

    network: Network
    misled: torch.Generator | None = None

    def __post_init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor, draws: Draws) -> Outputs:
        if len(x):
            self.seen.append(x.detach().clone())
        logits = self.network(x)
        if self.misled is None:
            return Outputs(logits)
        flat = x.flatten(1)
        random = flat @ torch.randn(flat.shape[1], logits.shape[1], generator=self.misled)
        return Outputs(logits.detach() + random - random.detach())


@dataclass(frozen=True, eq=False)
class Search:
    """An attack from a window's start, on the window's manifold or another.

    reach: local scales that it may go. manifold: whose, where it needs one: the window's or the decoder's. misled: its
    gradients are random.
    """

    name: str
    attack: Any
    reach: float = FAR
    manifold: Literal["window", "decoder"] | None = "window"
    misled: bool = False

    def run(self, network: Network, window: Window, decoder: LatentManifold) -> tuple[Tensor, list[Tensor]]:
        """What was found (1, *S), and all iterates."""
        watched = Watched(network, torch.Generator().manual_seed(0) if self.misled else None)
        view = replace(View.of(network, early_exit=True), forward=watched)
        draws = CounterDraws(self.name, torch.zeros(1, dtype=torch.long))
        chosen = {"window": window.manifold, "decoder": decoder}
        nested: dict[str, Any] = {"manifold": chosen[self.manifold]} if self.manifold else {}
        budget = Budget("l2", self.reach * window.scale)
        found: Tensor = self.attack.perturb(view, window.x, window.y, budget, draws, **nested)
        return found.detach(), watched.seen
