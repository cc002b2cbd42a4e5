"""Pictures of Sattelberg et al. 2023: a network learns a disc, frame by frame."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from geometry.polyhedra.drawings.cells_2d import cells_2d
from geometry.polyhedra.drawings.decision_boundary import decision_boundary
from geometry.polyhedra.drawings.training_frames import training_frames
from geometry.polyhedra.traverse import traverse
from leaderboard.papers._sattelberg_networks import circle_and_ring, plane, train_plane

BOX = (-1.0, 1.0)
FRAMES, POINTS = 12, 4000


def draw(folder: Path) -> list[tuple[str, Path]]:
    """The animation of a training: its title and its file in the folder."""
    torch.manual_seed(0)
    network, data = plane((2, 8, 8, 8, 2)), circle_and_ring(POINTS)
    networks = [copy.deepcopy(network).double()]
    for _ in range(FRAMES):
        train_plane(network.float().requires_grad_(True).train(), data, epochs=1)
        networks.append(copy.deepcopy(network).double())
    path = folder / "sattelberg_training.gif"
    training_frames(path, networks, _frame)
    return [("Section 2.4: the cells of 2-8-8-8-2 while it learns a disc, its decision boundary in red", path)]


def _frame(figure: Figure, network: nn.Module) -> None:
    cells = traverse(network, BOX)
    axes = figure.add_subplot(title=f"{len(cells)} cells", xlabel="x", ylabel="y")
    cells_2d(axes, cells)
    decision_boundary(axes, cells, network)
