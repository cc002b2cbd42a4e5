"""Stimuli and the dissimilarities that a network is to have among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from geometry.representations._matrix import require_matrix
from geometry.representations.activations import PENULTIMATE, all_activations
from geometry.representations.categorical import category_matrix
from geometry.representations.dissimilarity import Measure, dissimilarity_matrix
from geometry.representations.gabor_bank import gabor_energies
from harness.types import Split

Kind = Literal["gabor", "teacher", "brain", "category"]
HELD_OUT = 256  # training images at most that no loss sees
POOL = 2000  # training images at most that serve as stimuli


@dataclass(frozen=True, eq=False)
class Target:
    """Stimuli (N, *S) and their wanted dissimilarities (N, N), in the dtype of the stimuli."""

    x: Tensor
    matrix: Tensor

    def __getitem__(self, rows: Tensor) -> Target:
        return Target(self.x[rows], self.matrix[rows][:, rows])

    def shuffled(self) -> Target:
        """The same dissimilarities among the wrong stimuli."""
        order = torch.randperm(len(self.x)).to(self.x.device)
        return Target(self.x, self.matrix[order][:, order])


def chosen(data: Split, stimuli: Any) -> tuple[Split, Split, Split]:
    """Inputs for cross-entropy, stimuli to learn from, stimuli held out.

    stimuli: a data set, whose parts train and test they are; or None: training inputs, of which those held out, a tenth at
    most, leave cross-entropy too. Raises ValueError for stimuli of another size or colour than the inputs.
    """
    if stimuli is None:
        order = torch.randperm(len(data)).to(data.y.device)
        held = min(HELD_OUT, len(data) // 10)
        return data[order[held:]], data[order[held : held + POOL]], data[order[:held]]
    parts = stimuli.split("train"), stimuli.split("test")
    if parts[0].x.shape[1:] != data.x.shape[1:]:
        given, wanted = (tuple(x.shape[1:]) for x in (parts[0].x, data.x))
        hint = f"size: {wanted[-1]}, grey: {str(wanted[0] == 1).lower()}" if len(wanted) == 3 else "other inputs"
        raise ValueError(
            f"the stimuli are {given}, but the network takes {wanted}; give stimuli of that size and colour "
            f"(brain92 takes {hint})"
        )
    return data, *parts


def target(kind: Kind, stimuli: Split, measure: Measure, teacher: nn.Module | None) -> Target:
    """The target on some stimuli; raises ValueError where the data lack it, or it is no dissimilarity matrix."""
    matrix = _MATRICES[kind](stimuli, measure, teacher).to(stimuli.x)
    if len(matrix) != len(stimuli):
        raise ValueError(f"the target is of {len(matrix)} stimuli, but {len(stimuli)} are given")
    require_matrix(matrix, f"the target '{kind}'")
    return Target(stimuli.x, matrix)


def _gabor(stimuli: Split, measure: Measure, teacher: nn.Module | None) -> Tensor:
    return dissimilarity_matrix(gabor_energies(stimuli.x), measure)


def _teacher(stimuli: Split, measure: Measure, teacher: nn.Module | None) -> Tensor:
    if teacher is None:
        raise TypeError("the target 'teacher' needs a teacher that is a torch.nn.Module")
    return dissimilarity_matrix(all_activations(teacher, stimuli.x, [PENULTIMATE])[0], measure)


def _brain(stimuli: Split, measure: Measure, teacher: nn.Module | None) -> Tensor:
    matrix: Tensor | None = getattr(stimuli, "dissimilarity", None)
    if matrix is None:
        raise ValueError(
            "the target 'brain' needs stimuli with measured dissimilarities; give dataset: {brain92: {size: .., grey: ..}}"
        )
    return matrix


def _category(stimuli: Split, measure: Measure, teacher: nn.Module | None) -> Tensor:
    return category_matrix(stimuli.y)


_MATRICES: dict[str, Callable[[Split, Measure, nn.Module | None], Tensor]] = {
    "gabor": _gabor,
    "teacher": _teacher,
    "brain": _brain,
    "category": _category,
}
