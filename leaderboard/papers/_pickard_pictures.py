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
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    named = list(dict.fromkeys(_case(row) for row in rows))
    for place, name in enumerate(("clean", "robust"), 1):
        axes = figure.add_subplot(1, 2, place, xlabel="Spearman with human IT", ylabel=f"{name} accuracy")
        for row in rows:
            case, color = _case(row), f"C{named.index(_case(row))}"
            label = None if row["shuffled"] else case
            face = "none" if row["shuffled"] else color
            axes.scatter(row["human_it"], row[name], facecolors=face, edgecolors=color, s=30, label=label)
        axes.set_title("hollow: shuffled control", fontsize=8)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


def _case(row: Mapping[str, Any]) -> str:
    return f"{row['target']}{', ' + row['loss'] if row['loss'] else ''}"
