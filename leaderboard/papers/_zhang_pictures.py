"""Pictures of Zhang et al. 2024: images, their projections to a fitted manifold, and moves along it and across it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

Tables = Mapping[str, Sequence[Mapping[str, Any]]]

_COLUMNS = (
    ("clean", "clean", ""),
    ("projection", "projection", ""),
    ("clean − projection", "projection", "clean"),
    ("in-manifold", "in_manifold", ""),
    ("its change", "in_manifold", "clean"),
    ("normal", "normal", ""),
    ("its change", "normal", "clean"),
)


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Figures 4 to 6 for each set of images of which some were broken both ways: titles and files in the folder."""
    found = []
    for result in results:
        rows = result.get("pictures", ())
        if rows:
            data, epsilon = result["manifold"][0]["data"], result["manifold"][0]["epsilon"]
            path = folder / f"zhang_{data}.png"
            _drawn(rows).savefig(path, dpi=110)
            found.append((f"Figures 4 to 6 on {data}, L2 {epsilon:g}: projections, moves along and across", path))
    return found


def _drawn(rows: Sequence[Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(1.5 * len(_COLUMNS), 1.5 * len(rows) + 0.4), layout="constrained")
    for place, row in enumerate(rows):
        images = {name: np.asarray(row[name], dtype=float).transpose(1, 2, 0) / 1000 for _, name, _ in _COLUMNS}
        images["clean"] = np.asarray(row["clean"], dtype=float).transpose(1, 2, 0) / 1000
        for column, (title, name, less) in enumerate(_COLUMNS):
            axes = figure.add_subplot(
                len(rows), len(_COLUMNS), place * len(_COLUMNS) + column + 1, xticks=[], yticks=[]
            )
            if place == 0:
                axes.set_title(title, fontsize=9)
            if column == 0:
                axes.set_ylabel(f"test image {row['index']}", fontsize=8)
            if less:
                _difference(axes, images[name] - images[less])
            else:
                axes.imshow(images[name].squeeze(), cmap="gray", vmin=0, vmax=1)
    return figure


def _difference(axes: Any, change: Any) -> None:
    """Grey where nothing changed; its range is the largest change, written beneath."""
    most = max(float(np.abs(change).max()), 1e-6)
    if change.shape[-1] == 1:
        axes.imshow(change.squeeze(), cmap="RdBu_r", vmin=-most, vmax=most)
    else:
        axes.imshow(0.5 + change / (2 * most))
    axes.set_xlabel(f"±{most:.2g}", fontsize=7, labelpad=1)
