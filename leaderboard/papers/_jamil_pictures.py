"""Pictures of Jamil et al. 2023: detection by target and source, what decides it, and errors over rows a feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from leaderboard.papers._jamil_claims import PAPER_RATIO, _embedding, split_matrices
from leaderboard.papers._jamil_tables import MAPS, Matrix, Studies, Tables, attack, dataset, short
from leaderboard.papers._jamil_variance import SHARES, shares, two_way
from leaderboard.papers._markdown import printed

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKS = (0.125, 0.25, 0.5, 1, 2, 4, 8)
_WORST = 3.0  # errors above that leave the picture


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Titles and files in the folder."""
    studies, figures = Studies.of(results), printed("jamil")
    drawn = {
        "jamil_auroc": ("AUROC by target and source: ours and Table 3", _detection(studies, figures)),
        "jamil_variance": ("What decides a pair", _decided(studies, figures)),
    }
    if studies.subsets:
        drawn["jamil_interpolation"] = (
            f"Held-out error and AUROC over rows a feature, into {short(studies.subsets[0]['setting'][0]['target'])}",
            _subsets(studies),
        )
    found = []
    for name, (title, figure) in drawn.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110)
        found.append((title, path))
    return found


def _detection(studies: Studies, figures: dict[str, Any]) -> Figure:
    first = studies.first_of_each_data_set()
    matrices = [(f"{dataset(r)}, {m}", Matrix.of(r["pairs"], "auroc", m)) for r in first for m in MAPS]
    matrices.append(("paper, CIFAR-10", Matrix.printed(figures["auroc"])))
    figure = Figure(figsize=(15, 5 * -(-len(matrices) // 3)), layout="constrained")
    lowest = min(float(matrix.values.min()) for _, matrix in matrices)
    for place, (title, matrix) in enumerate(matrices, 1):
        axes = figure.add_subplot(-(-len(matrices) // 3), 3, place)
        image = axes.imshow(matrix.values, vmin=lowest, vmax=1.0, cmap="viridis")
        axes.set_title(title)
        axes.set_xticks(range(len(matrix.sources)), matrix.sources, rotation=40, ha="right", fontsize=8)
        axes.set_yticks(range(len(matrix.targets)), matrix.targets, fontsize=8)
        axes.set_xlabel("source")
        axes.set_ylabel("target")
        for (row, column), value in np.ndenumerate(matrix.values):
            dark = value < (lowest + 1) / 2
            axes.text(column, row, f"{value:.2f}"[1:], ha="center", va="center", fontsize=7, color="w" if dark else "k")
        figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def _decided(studies: Studies, figures: dict[str, Any]) -> Figure:
    bars: list[tuple[str, dict[str, tuple[float, float, float]]]] = []
    for result in studies.large:
        if len({row["source"] for row in result["splits"]}) >= 4:
            title = f"{dataset(result)}\n{attack(result)}"
            bars += [(f"{title}\n{kind}", shares(split_matrices(result, column, MAPS[0]))) for column, kind in _OF]
    for column, kind in _OF:
        values = Matrix.printed(figures[column]).values
        whole = two_way(np.log(values + np.eye(len(values))) if column == "mse" else values)
        bars.append((f"paper\nfgsm\n{kind}", {name: (value, value, value) for name, value in whole.items()}))
    figure = Figure(figsize=(max(7.0, 0.95 * len(bars)), 4.6), layout="constrained")
    axes = figure.add_subplot(title="Share of the sum of squares over pairs (bars: 95 % over splits)")
    for place, name in enumerate(SHARES):
        x = np.arange(len(bars)) + 0.27 * (place - 1)
        heights = [100 * found[name][0] for _, found in bars]
        halves = [100 * np.nan_to_num(found[name][2] - found[name][0]) for _, found in bars]
        axes.bar(x, heights, 0.25, yerr=halves, color=_COLOURS[place], label=name, capsize=2, error_kw={"lw": 0.9})
    axes.set_xticks(range(len(bars)), [title for title, _ in bars], fontsize=7)
    axes.set_ylabel("per cent")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, ncols=3)
    return figure


_OF = (("mse", "log MSE"), ("auroc", "AUROC"))


def _subsets(studies: Studies) -> Figure:
    figure = Figure(figsize=(12.5, 4.8 * len(studies.subsets)), layout="constrained")
    for place, result in enumerate(studies.subsets):
        error = figure.add_subplot(len(studies.subsets), 2, 2 * place + 1, title=f"{dataset(result)}: 1 - R²")
        auroc = figure.add_subplot(len(studies.subsets), 2, 2 * place + 2, title=f"{dataset(result)}: AUROC")
        _lines(error, result, "r2")
        _lines(auroc, result, "auroc")
        error.set_ylim(0, _WORST)
        error.legend(frameon=False, fontsize=8)
    return figure


def _lines(axes: Axes, result: Tables, column: str) -> None:
    """Solid: least squares; dashed: ridge; bands from the lowest to the highest split."""
    for number, source in enumerate(dict.fromkeys(row["source"] for row in result["sweep"])):
        for mapping, style in zip(MAPS, ("-", "--"), strict=True):
            rows = [row for row in result["sweep"] if (row["source"], row["map"]) == (source, mapping)]
            x = [row["ratio"] for row in rows]
            middle, low, high = (np.array([row[f"{column}{end}"] for row in rows]) for end in ("", "_low", "_high"))
            if column == "r2":
                middle, low, high = 1 - middle, 1 - high, 1 - low
            colour = _COLOURS[number % len(_COLOURS)]
            label = _embedding(source) if mapping == MAPS[0] else None
            axes.plot(x, middle, style, color=colour, label=label, lw=1.6, marker="o", ms=3)
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    axes.axvline(1.0, color="0.5", lw=0.8)
    axes.axvline(PAPER_RATIO, color="0.5", lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_xticks(_MARKS, [f"{mark:g}" for mark in _MARKS])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("rows a feature (line: 1; dotted: the paper's 1.33); solid least squares, dashed ridge")
