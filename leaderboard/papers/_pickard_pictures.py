"""Pictures of Pickard et al. 2023: similarity by layer, and similarity with cortex against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def draw(folder: Path, results: Sequence[Mapping[str, Rows]]) -> list[tuple[str, Path]]:
    """Figure 7's substitute and the question of the paper's end: titles and files in the folder."""
    found = []
    for result in results:
        if "layers" in result:
            path = folder / "pickard_layers.png"
            _layers(result["layers"]).savefig(path, dpi=110)
            found.append(("Spearman similarity of every layer with cortex, 92 images", path))
        if "targets" in result:
            path = folder / "pickard_targets.png"
            _against(result["targets"]).savefig(path, dpi=110)
            found.append(("Similarity with human cortex against clean and robust accuracy, one seed", path))
    return found


def _layers(rows: Rows) -> Figure:
    regions = list(dict.fromkeys(row["region"] for row in rows))
    figure = Figure(figsize=(5.2 * len(regions), 3.6), layout="constrained")
    for place, region in enumerate(regions, 1):
        axes = figure.add_subplot(1, len(regions), place, title=region, xlabel="layer", ylabel="Spearman")
        for model in dict.fromkeys(row["model"] for row in rows):
            values = [row["spearman"] for row in rows if (row["model"], row["region"]) == (model, region)]
            if len(values) == 1:
                axes.axhline(values[0], color="0.6", linewidth=1)
                axes.annotate(model, (0, values[0]), fontsize=7, va="bottom")
                continue
            style = ":" if model.startswith("untrained") else "-"
            axes.plot(range(len(values)), values, style, marker="o", markersize=3, label=model)
        if place == len(regions):
            axes.legend(fontsize=6)
    return figure


def _against(rows: Rows) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for place, name in enumerate(("clean", "robust"), 1):
        axes = figure.add_subplot(1, 2, place, xlabel="Spearman with human IT", ylabel=f"{name} accuracy")
        for row in rows:
            hollow = "none" if row["shuffled"] else "C0"
            axes.scatter(row["human_it"], row[name], facecolors=hollow, edgecolors="C0", s=24)
            text = f"{row['target']}{', ' + row['loss'] if row['loss'] else ''}"
            axes.annotate(text, (row["human_it"], row[name]), fontsize=6, xytext=(3, 3), textcoords="offset points")
        axes.set_title("hollow: shuffled control", fontsize=8)
    return figure
