"""How the radii of cells are distributed, group beside group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor


def radius_histogram(axes: Axes, radii: Mapping[str, Tensor], *, bins: int = 30) -> None:
    """Draw one outline a group over common bins; the legend says how many radii are infinite, which no bin holds.

    Raises ValueError for NaN, and if no radius is finite. Liu et al. 2023, figures 5 and 6.
    """
    values = {name: group.detach().cpu().double().numpy() for name, group in radii.items()}
    finite = {name: group[np.isfinite(group)] for name, group in values.items()}
    together = np.concatenate([np.empty(0), *finite.values()])
    if any(np.isnan(group).any() for group in values.values()) or not len(together):
        raise ValueError("radii must be numbers, at least one of them finite")
    edges = np.histogram_bin_edges(together, bins=bins)
    for name, group in finite.items():
        missing = len(values[name]) - len(group)
        label = f"{name} ({len(group)}" + (f", {missing} infinite)" if missing else ")")
        axes.hist(group, bins=list(edges), histtype="step", label=label)
    axes.set_xlabel("Chebyshev radius")
    axes.set_ylabel("cells")
    axes.legend()
