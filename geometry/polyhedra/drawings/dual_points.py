"""Local affine maps as points of the dual space."""

from __future__ import annotations

from typing import Any

from matplotlib import colormaps
from matplotlib.collections import PathCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from torch import Tensor


def dual_points(axes: Axes3D, weights: Tensor, biases: Tensor) -> list[PathCollection]:
    """Draw each row (w, b) of local maps of two inputs as a point (w_1, w_2, b), a colour for each output.

    weights (N, K, 2) and biases (N, K). Raises ValueError for maps of more inputs. Sattelberg et al. 2023, equations (4)
    to (6).
    """
    if weights.ndim != 3 or weights.shape[2] != 2 or weights.shape[:2] != biases.shape:
        raise ValueError(
            f"weights (N, K, 2) and biases (N, K) are needed, not {tuple(weights.shape)}, {tuple(biases.shape)}"
        )
    rows, offsets = weights.detach().cpu().numpy(), biases.detach().cpu().numpy()
    drawn = []
    for output in range(rows.shape[1]):
        color = colormaps["tab10"](output % 10)
        first, second = rows[:, output].T
        heights: Any = offsets[:, output]
        points = axes.scatter(first, second, heights, color=color, label=f"output {output}")
        drawn.append(points)
    axes.set_xlabel("$w_1$")
    axes.set_ylabel("$w_2$")
    axes.set_zlabel("$b$")
    axes.legend()
    return drawn
