"""Curves of Liu Z. et al. 2024: areas over attempts (Figure 9), and over steps of the sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaderboard.papers._liu_z_report import DISTANCES, FIRST, NAMES
from leaderboard.papers._liu_z_steps import comparisons

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]


def draw(folder: Path, results: Sequence[Tables]) -> list[tuple[str, Path]]:
    """Titles and files in the folder."""
    found: list[tuple[str, Path]] = []
    rows = [row for result in results for row in result["areas"] if row.get("lift") == FIRST]
    if rows:
        found.append(("Figure 9: areas over attempts, for each distance", folder / "liu_z_attempts.png"))
        _attempts(rows).savefig(found[-1][1], dpi=110)
    counted = [r for r in results if any(str(row.get("lift", "")).endswith(" steps") for row in r["areas"])]
    if counted:
        found.append(("Areas over steps of the sampler, four attempts", folder / "liu_z_steps.png"))
        _steps(counted).savefig(found[-1][1], dpi=110)
    return found


def _attempts(rows: Sequence[Row]) -> Figure:
    pairs = list(dict.fromkeys((row["home"], row["foreign"]) for row in rows))
    across = min(3, len(pairs))
    down = -(-len(pairs) // across)
    figure = Figure(figsize=(3.4 * across, 2.8 * down + 0.3), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat
    for place, (home, foreign) in zip(axes, pairs, strict=False):
        for distance in DISTANCES:
            some = [r for r in rows if (r["home"], r["foreign"], r["distance"]) == (home, foreign, distance)]
            some = sorted(some, key=lambda row: row["attempts"])
            _curve(place, [row["attempts"] for row in some], [row["auroc"] for row in some], distance)
        place.set_title(f"{NAMES[home]}, foreign {NAMES[foreign]}", fontsize=9)
        place.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.supxlabel("attempts", fontsize=9)
    figure.supylabel("area under the ROC curve, 95 % interval", fontsize=9)
    return figure


def _steps(results: Sequence[Tables]) -> Figure:
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for distance in DISTANCES:
        found = comparisons(results, distance=distance)
        _curve(axes, [one.steps for one in found], [one.area for one in found], distance)
    axes.set_xscale("log")
    axes.set_xlabel("steps of the sampler")
    axes.set_ylabel("area under the ROC curve")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


def _curve(axes: Axes, numbers: Sequence[int], areas: Sequence[Mapping[str, float]], name: str) -> None:
    low, high = [area["low"] for area in areas], [area["high"] for area in areas]
    (line,) = axes.plot(numbers, [area["value"] for area in areas], marker="o", markersize=3, label=name)
    axes.fill_between(numbers, low, high, alpha=0.12, color=line.get_color(), linewidth=0)
