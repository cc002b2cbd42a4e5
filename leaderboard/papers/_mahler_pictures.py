"""Pictures of Mahler et al. 2024: circles, maps of a network over the views, a manifold with its fields, steps of searches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from leaderboard.papers._mahler_circles import (
    circle,
    colored,
    extensions,
    nystrom,
    projected,
    tangents,
    undefined_from,
    uneven_circle,
)
from leaderboard.papers._mahler_examples import unpacked

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_FAR, _NEAR, _PIXELS = 4.0, 1.4, 121
_LEVEL = 1.4  # of the colours in Figure 1
_FEW = 400  # points of Figures 2 and 3
_DPI = 110


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Titles and files in the folder; those of vehicles only where the study has them."""
    torch.manual_seed(0)
    pictures = {
        "mahler_circles": ("Figures 1 and 2: a function extended over the plane; points projected", _circles()),
        "mahler_tangents": ("Figure 3: tangents on an uneven circle in the plane", _tangents()),
    }
    for result in results:
        if "maps" in result:
            vehicle, names = result["maps"][0]["vehicle"], result["maps"][0]["names"]
            pictures |= {
                "mahler_maps": (
                    f"Figures 6 and 9: loss and class over the views, {vehicle}",
                    _maps(result["maps"], names),
                ),
                "mahler_manifold": (f"Figure 8: the manifold of a window, {vehicle}", _manifold(result["manifold"][0])),
                "mahler_steps": (
                    "Figures 7 and 10: searches along the manifold, step by step",
                    _steps(result["steps"]),
                ),
            }
    for name, (_, figure) in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=_DPI)
    return [(title, folder / f"{name}.png") for name, (title, _) in pictures.items()]


def _circles() -> Figure:
    data = circle(1000, noise=0.1)
    learnt = extensions(data)
    figure = Figure(figsize=(15, 9), layout="constrained")
    axes = figure.subplots(3, 5)
    for row, half in ((0, _FAR), (1, _NEAR)):
        axes[row, 0].scatter(*data.x.T, c=colored(data.angle), s=4, cmap="RdBu_r", vmin=-_LEVEL, vmax=_LEVEL)
        _square(axes[row, 0], half, "data")
        for place, (name, function) in enumerate(learnt.items(), 1):
            values = function(_grid(half)).reshape(_PIXELS, _PIXELS)
            box = (-half, half, -half, half)
            axes[row, place].imshow(
                values, extent=box, origin="lower", cmap="RdBu_r", vmin=-_LEVEL, vmax=_LEVEL, interpolation="bilinear"
            )
            axes[row, place].scatter(*data.x.T, s=0.2, c="black", alpha=0.3)
            _square(axes[row, place], half, name)
    edge = undefined_from(1000)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes[0, 2].plot(edge * np.cos(angle), edge * np.sin(angle), "k--", lw=0.8)
    axes[0, 2].set_title(f"diffusion map (0 / 0 beyond {edge:.1f})", fontsize=10)
    _projections(axes[2])
    return figure


def _projections(axes: NDArray[Any]) -> None:
    """Figure 2: noisy data, and where points of the plane go, by the number of eigenfunctions."""
    x = circle(1000, noise=0.1).x
    random = torch.rand(_FEW, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plane = (2 * random - 1) * 2
    for axis, (number, beyond) in zip(axes, ((5, False), (20, False), (100, False), (20, True)), strict=False):
        manifold = nystrom(x, beyond_nearest=beyond, eigenfunctions=number)
        found = projected(manifold, plane)
        axis.scatter(*x.T, s=3, c="lightsalmon")
        ends = np.stack([plane, found], axis=1)
        for start, end in ends[:120]:
            axis.plot(*zip(start, end, strict=True), c="grey", lw=0.3)
        axis.scatter(*found.T, s=4, c="navy")
        _square(axis, 2, f"L = {number}, {'ours' if beyond else 'printed'}")
    moved = projected(nystrom(circle(500, concentration=2.0).x, beyond_nearest=False), plane)
    axes[4].scatter(*circle(500, concentration=2.0).x.T, s=3, c="lightsalmon")
    axes[4].scatter(*moved.T, s=4, c="navy")
    _square(axes[4], 2, "L = 20, printed, von Mises 2")


def _tangents() -> Figure:
    data = uneven_circle(1000, flat=True, seed=0)
    figure = Figure(figsize=(15, 8), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, (name, vectors) in zip(axes, tangents(data.x, (20, 40, 60)).items(), strict=True):
        unit = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
        cosine = (unit * data.tangent).sum(1).abs()
        axis.quiver(
            *data.x.T, *unit.T, cosine, cmap="RdYlBu", clim=(0, 1), headwidth=1, headlength=0, headaxislength=0,
            pivot="middle", scale=28, width=0.004,
        )  # fmt: skip
        _square(axis, 1.6, f"{name}: worst |cos| {float(cosine.min()):.3f}")
    figure.colorbar(axes[0].collections[0], ax=list(axes), shrink=0.6, label="|cos| with the true tangent")
    return figure


def _maps(maps: Sequence[Row], names: Sequence[str]) -> Figure:
    """A row a network: loss on a logarithmic scale, and class; the band is what was trained on."""
    figure = Figure(figsize=(15, 3.4 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), 2, squeeze=False)
    colors = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"]
    colors.insert(names.index(maps[0]["vehicle"]), "#e0e0e0")
    for row, one in zip(axes, maps, strict=True):
        box = (one["azimuths"][0], one["azimuths"][-1], one["look_down"][0], one["look_down"][-1])
        loss = np.log10(np.maximum(np.array(one["loss"]), 1e-4))
        image = row[0].imshow(loss, extent=box, origin="lower", aspect="auto", cmap="magma", vmin=-4, vmax=1)
        figure.colorbar(image, ax=row[0], label="log10 loss")
        norm = BoundaryNorm(np.arange(-0.5, len(names)), len(names))
        image = row[1].imshow(
            one["class"],
            extent=box,
            origin="lower",
            aspect="auto",
            cmap=ListedColormap(colors),
            norm=norm,
            interpolation="nearest",
        )
        bar = figure.colorbar(image, ax=row[1], ticks=range(len(names)))
        bar.set_ticklabels(list(names))
        for axis, what in zip(row, ("loss", "class"), strict=True):
            for edge in one["trained"]:
                axis.axhline(edge, c="cyan" if what == "loss" else "black", lw=0.8, ls="--")
            axis.set(title=f"{one['network']}: {what} ({one['right']:.0%} right)", xlabel="azimuth", ylabel="look-down")
    return figure


def _manifold(row: Row) -> Figure:
    coordinates, views = np.array(row["coordinates"]), np.array(row["views"])
    figure = Figure(figsize=(14, 10), layout="constrained")
    for place, (name, column) in enumerate((("azimuth", 0), ("look-down angle", 1)), 1):
        axes = _space(figure, place, f"coloured by {name}, degrees")
        points = axes.scatter(*coordinates.T, c=views[:, column], cmap="viridis", s=14)
        figure.colorbar(points, ax=axes, shrink=0.6)
    chosen, arrows, start = row["chosen"], np.array(row["arrows"]), row["start"]
    width = 0.12 * np.ptp(coordinates, axis=0).max()
    for field in (0, 1):
        axes = _space(figure, 3 + field, f"field {field + 1} of the spectral exterior calculus")
        axes.scatter(*coordinates.T, c="lightgrey", s=6)
        arrow = arrows[:, field] * width / np.quantile(np.linalg.norm(arrows[:, field], axis=1), 0.9)
        axes.quiver(*coordinates[chosen].T, *arrow.T, color="firebrick", lw=1.0, arrow_length_ratio=0.35)
        axes.scatter(*start, c="blue", s=60)
    return figure


def _steps(rows: Sequence[Row]) -> Figure:
    """A column a step, a block of rows a window."""
    blocks = {name: [row for row in rows if row["window"] == name] for name in dict.fromkeys(r["window"] for r in rows)}
    kinds = {
        "image": "image", "gradient image": "gradient", "tangent image": "tangent part", "real image": "rendered there",
    }  # fmt: skip
    most = max(len(block) for block in blocks.values())
    figure = Figure(figsize=(2.1 * most, 2.3 * len(kinds) * len(blocks)), layout="constrained")
    axes = figure.subplots(len(kinds) * len(blocks), most, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for number, (window, block) in enumerate(blocks.items()):
        for column, row in enumerate(block):
            for line, (key, title) in enumerate(kinds.items()):
                axis = axes[number * len(kinds) + line, column]
                axis.imshow(unpacked(row[key]))
                axis.set_title(_caption(key, title, row, window if column == 0 else ""), fontsize=8)
    return figure


def _caption(key: str, title: str, row: Row, window: str) -> str:
    if key == "image":
        turn, down = row["labels"]
        first = f"{window}: {row['vehicle']}, " if window else ""
        return f"{first}step {row['step']}\n{turn:.1f}° / {down:.1f}°: {row['class']}"
    if key == "real image":
        return f"{title}: {row['real class']}"
    return f"{title}, norm {row['gradient' if key == 'gradient image' else 'tangent gradient']:.2g}"


def _grid(half: float) -> torch.Tensor:
    side = torch.linspace(-half, half, _PIXELS, dtype=torch.float64)
    return torch.cartesian_prod(side, side).flip(1)


def _square(axes: Axes, half: float, title: str) -> None:
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.set_title(title, fontsize=10)


def _space(figure: Figure, place: int, title: str) -> Axes3D:
    return cast("Axes3D", figure.add_subplot(2, 2, place, projection="3d", title=title))
