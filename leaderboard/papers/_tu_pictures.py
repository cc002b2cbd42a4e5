"""Pictures of Tu et al. 2023: samplers, densities, grids of codes, traversals, and what is left of accuracy under patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]

_DPI = 110
_COLOURS = {"ddpm": "#a65628", "ddim": "#1f77b4", "rk4": "#d62728"}
_NAMES = {"ddpm": "DDPM", "ddim": "DDIM", "rk4": "Runge–Kutta 4"}


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """A picture for each study's tables that are there: titles and files in the folder."""
    found = []
    for result in results:
        for name, (table, title, picture) in _PICTURES.items():
            if table in result:
                path = folder / f"tu_{name}.png"
                picture(result).savefig(path, dpi=_DPI)
                found.append((title, path))
    return found


def _purification(result: Tables) -> Figure:
    """Accuracy against steps, a panel for each attack, a line with its band for each attacker."""
    rows = result["table_1"]
    attacks = [name for name in dict.fromkeys(row["attack"] for row in rows) if name not in ("clean", "worst")]
    figure = Figure(figsize=(5 * len(attacks), 3.8), layout="constrained")
    for place, attack in enumerate(attacks):
        axes = figure.add_subplot(1, len(attacks), place + 1, title=attack, ylim=(0, 100), xlabel="purification steps")
        axes.set_ylabel("accuracy, % (band: 95 % interval)")
        shown = [row for row in rows if row["attack"] in ("clean", attack)]
        ticks: list[int] = []
        for row in shown:
            found = sorted(_numbered(row))
            ticks = [number for number, _ in found]
            values = 100 * np.array([[value[name] for name in ("value", "low", "high")] for _, value in found])
            (line,) = axes.plot(values[:, 0], marker="o", markersize=3.5, label=row["knows"] or "clean images")
            axes.fill_between(range(len(values)), values[:, 1], values[:, 2], color=line.get_color(), alpha=0.13, lw=0)
        axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        axes.legend(fontsize=7, loc="lower right", ncols=2)
    return figure


def _numbered(row: Row) -> Iterator[tuple[int, Row]]:
    for name, value in row.items():
        if name.startswith("after "):
            yield 0 if name == "after none" else int(name.split()[1]), value


def _samplers(result: Tables) -> Figure:
    """Order on normal data; distance of samples from fresh data; distance from the fine walk's end."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    panels = (
        ("orders", "error", "Normal data: largest error"),
        ("samples", "distance", "Swiss roll: sliced Wasserstein distance from data"),
        ("samples", "off", "Swiss roll: distance from the fine walk's end"),
    )
    for place, (table, value, title) in enumerate(panels):
        axes = figure.add_subplot(
            1, 3, place + 1, title=title, xscale="log", yscale="log", xlabel="evaluations of the denoiser"
        )
        axes.title.set_fontsize(9)
        for name, colour in _COLOURS.items():
            rows = [row for row in result[table] if row["sampler"] == name and value in row]
            if rows:
                x, y = [row["evaluations"] for row in rows], [row[value] for row in rows]
                last = f", order {rows[-1]['order']:.2f}" if table == "orders" else ""
                axes.plot(x, y, color=colour, marker="o", markersize=3.5, label=_NAMES[name] + last)
                if value == "distance":
                    axes.fill_between(x, [r["least"] for r in rows], [r["most"] for r in rows], color=colour, alpha=0.2)
        floor = [row for row in result[table] if row["sampler"] == "fresh data"] if value == "distance" else []
        for row in floor:
            axes.axhspan(row["least"], row["most"], color="0.8", label="two sets of data")
        counts = sorted({row["evaluations"] for row in result[table] if row["evaluations"]})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.legend(fontsize=8)
    return figure


def _clouds(result: Tables) -> Figure:
    """A row for each sampler, a column for each number of evaluations, the data on the left."""
    rows = result["clouds"]
    counts = [count for count in dict.fromkeys(row["evaluations"] for row in rows) if count]
    figure = Figure(figsize=(1.7 * (len(counts) + 1), 5.4), layout="constrained")
    by = {(row["sampler"], row["evaluations"]): row["points"] for row in rows}
    for line, sampler in enumerate(_COLOURS):
        for column, count in enumerate((0, *counts)):
            axes = figure.add_subplot(3, len(counts) + 1, line * (len(counts) + 1) + column + 1, xticks=[], yticks=[])
            points = np.asarray(by["data", 0] if count == 0 else by[sampler, count])
            axes.scatter(points[:, 0], points[:, 1], s=1, c="0.35" if count == 0 else _COLOURS[sampler], lw=0)
            axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
            if line == 0:
                axes.set_title("data" if count == 0 else f"{count} evaluations", fontsize=8)
            if column == 0:
                axes.set_ylabel(_NAMES[sampler], fontsize=9)
    return figure


def _chains(result: Tables) -> Figure:
    """Histograms of the bound on log10 p, a panel for each stride."""
    strides = list(dict.fromkeys(row["stride"] for row in result["chain_points"]))
    figure = Figure(figsize=(4.3 * len(strides), 3.4), layout="constrained")
    for place, stride in enumerate(strides):
        axes = figure.add_subplot(
            1, len(strides), place + 1, title=f"stride {stride}", xlabel="bound on log10 p, ends: beyond"
        )
        for row in result["chain_points"]:
            if row["stride"] == stride:
                values = np.clip(row["values"], -4, 1.2)
                axes.hist(values, np.linspace(-4, 1.2, 53).tolist(), alpha=0.5, label=row["shape"].replace("_", " "))
        axes.legend(fontsize=8, loc="upper center")
    return figure


def _densities(result: Tables) -> Figure:
    """Histograms of log-densities, a panel for each density."""
    names = list(dict.fromkeys(row["density"] for row in result["histograms"]))
    columns = -(-len(names) // 2)
    figure = Figure(figsize=(3.6 * columns, 5.6), layout="constrained")
    areas = {(row["density"], row["foreign"]): row["auroc"]["value"] for row in result["densities"]}
    for place, name in enumerate(names):
        axes = figure.add_subplot(2, columns, place + 1, yticks=[])
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("log p, nats", fontsize=8)
        for row in result["histograms"]:
            if row["density"] == name:
                area = areas.get((name, row["set"]))
                label = row["set"] if area is None else f"{row['set']}, AUROC {area:.2f}"
                patch = axes.stairs(row["counts"], row["edges"], fill=True, alpha=0.3, label=label)
                axes.stairs(row["counts"], row["edges"], color=patch.get_facecolor(), alpha=1.0, lw=1.2)
        axes.legend(fontsize=7)
    return figure


def _digits(result: Tables) -> Figure:
    """Codes of test images by their first and by their second digit, and the decoder's images of the centres."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    codes = np.array([row["code"] for row in result["scatter"]])
    labels = np.array([row["label"] for row in result["scatter"]])
    side = round(len(result["centers"]) ** 0.5)
    for place, (title, digits) in enumerate((("first", labels // side), ("second", labels % side))):
        axes = figure.add_subplot(1, 3, place + 1)
        axes.set_title(f"codes of test images by their {title} digit", fontsize=10)
        points = axes.scatter(codes[:, 0], codes[:, 1], c=digits, s=9, cmap="tab10", vmin=0, vmax=9)
        axes.set_xticks(range(side))
        axes.set_yticks(range(side))
        axes.grid(alpha=0.3)
        axes.legend(*points.legend_elements(num=list(range(side))), fontsize=7, loc="upper right")
    axes = figure.add_subplot(1, 3, 3, title="images of the centres", xticks=[], yticks=[], aspect="equal")
    images = {tuple(row["center"]): np.asarray(row["image"], dtype=float) / 1000 for row in result["centers"]}
    lines = [np.concatenate([_framed(images[x, y]) for x in range(side)], 1) for y in reversed(range(side))]
    axes.imshow(np.concatenate(lines, 0), cmap="gray", vmin=0, vmax=1)
    return figure


def _traversals(result: Tables) -> Figure:
    """A block for each model and input: a line for each guided dimension, moved from -0.5 to 1.5."""
    blocks: list[tuple[str, list[Row]]] = []
    for row in result["traversals"]:
        if not blocks or blocks[-1][0] != row["model"] or row["attribute"] == result["traversals"][0]["attribute"]:
            blocks.append((row["model"], []))
        blocks[-1][1].append(row)
    figure = Figure(figsize=(6.2 * 2, 3.2 * -(-len(blocks) // 2)), layout="constrained")
    for place, (model, rows) in enumerate(blocks):
        axes = figure.add_subplot(-(-len(blocks) // 2), 2, place + 1)
        images = [
            np.concatenate([_framed(np.asarray(image, dtype=float) / 1000) for image in row["images"]], 1)
            for row in rows
        ]
        axes.imshow(np.concatenate(images, 0), cmap="gray", vmin=0, vmax=1)
        _labelled(axes, model, rows, images[0].shape)
    return figure


def _labelled(axes: Axes, model: str, rows: Sequence[Row], shape: tuple[int, ...]) -> None:
    """The attributes with the input's own code beside the lines, the values beneath."""
    height, width = shape[0], shape[1] / len(rows[0]["images"])
    names = [f"{row['attribute']} ({row['code']:.1f})" for row in rows]
    axes.set_yticks([height * (line + 0.5) for line in range(len(rows))], names, fontsize=8)
    count = len(rows[0]["images"])
    values = np.linspace(-0.5, 1.5, count)
    axes.set_xticks([width * (k + 0.5) for k in range(count)], [f"{value:g}" for value in values], fontsize=7)
    axes.set_title(f"{model}: a dimension moved, the rest as the input's", fontsize=9)


def _framed(image: Any) -> Any:
    return np.pad(image, 1, constant_values=0.5)


_PICTURES: dict[str, tuple[str, str, Callable[[Tables], Figure]]] = {
    "purification": ("table_1", "Table 1: accuracy against the number of purification steps", _purification),
    "samplers": ("orders", "Samplers at equal numbers of evaluations", _samplers),
    "clouds": ("clouds", "Figures 6 to 8: samples of the Swiss roll", _clouds),
    "chains": ("chain_points", "Figure 5: log-densities by chain ratios", _chains),
    "densities": ("histograms", "Figure 2: log-densities at home and on foreign images", _densities),
    "digits": ("scatter", "Figures 9 and 10: codes of two digits and the grid's images", _digits),
    "traversals": ("traversals", "Figures 12 to 14: traversals of guided dimensions", _traversals),
}
