"""Stimuli with what a brain made of them: the parts of a data set that has a matrix of dissimilarities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from harness.types import Split


@dataclass(frozen=True)
class Stimuli(Split):
    """Inputs of one part and their measured dissimilarities (N, N) float64, symmetric with a zero diagonal."""

    dissimilarity: Tensor = cast("Tensor", None)  # noqa: RUF009 - a field after those with defaults needs one

    def __getitem__(self, rows: Tensor) -> Stimuli:
        """Some of the stimuli: rows is a boolean mask or indices."""
        some = super().__getitem__(rows)
        places = rows.to(self.dissimilarity.device)
        return Stimuli(**vars(some), dissimilarity=self.dissimilarity[places][:, places])
