"""Fiedler partitions of two categories at a time: the printed affinity and its cures, agreement counted, intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from geometry.representations.bootstrap import bootstrap
from geometry.representations.fiedler import (
    AFFINITIES,
    Agreement,
    Partition,
    agreement,
    clipped,
    complement,
    fiedler_partition,
)

Row = dict[str, Any]
Pair = tuple[str, Tensor, Tensor]  # name, the images (n,), which of them are of the second category (n,)


def pairs(labels: Tensor, names: Sequence[str], animate: Tensor | None) -> Iterator[Pair]:
    """Animate against inanimate, if that is known, and each two categories."""
    if animate is not None:
        yield "animate-inanimate", torch.arange(len(labels)), animate
    for one, two in itertools.combinations(range(len(names)), 2):
        rows = torch.isin(labels, torch.tensor([one, two])).nonzero()[:, 0]
        yield f"{names[one]}-{names[two]}", rows, labels[rows] == two


def fiedler_rows(matrices: Mapping[str, Tensor], cuts: Sequence[Pair], draws: int) -> Iterator[Row]:
    """A row for each matrix and pair: accuracy by affinity, with an interval (Bonferroni over pairs) for the clipped one.

    A bootstrap draw keeps each image once, as copies of an image are a cluster of their own.
    """
    for name, matrix in matrices.items():
        for pair, rows, truth in cuts:
            some = matrix[rows][:, rows]
            found = {key: _cut(affinity(some)) for key, affinity in AFFINITIES.items()}
            found["beside"] = _cut(complement(some), beside_constant=True)
            found["normalised"] = _cut(clipped(some), normalised=True)
            scores = {key: agreement(cut.part, truth) for key, cut in found.items() if cut is not None}
            known = scores["clipped"]
            interval = _interval(some, truth, draws, 0.05 / len(cuts)) if draws else {}
            yield {
                "matrix": name,
                "pair": pair,
                **{key: _accuracy(scores.get(key)) for key in found},
                "balanced": known.balanced,
                "majority": known.majority,
                **interval,
                "constant": [key for key, cut in found.items() if cut is not None and cut.constant],
                "degenerate": [key for key, cut in found.items() if cut is not None and cut.degenerate],
            }


def _cut(affinity: Tensor, *, normalised: bool = False, beside_constant: bool = False) -> Partition | None:
    """The partition; None where the normalised Laplacian is undefined."""
    try:
        return fiedler_partition(affinity, normalised=normalised, beside_constant=beside_constant)
    except ValueError:
        return None


def _accuracy(score: Agreement | None) -> float | None:
    return None if score is None else score.accuracy


def _interval(matrix: Tensor, truth: Tensor, draws: int, alpha: float) -> Row:
    def statistic(stimuli: Tensor, _: Tensor) -> float:
        rows = torch.unique(stimuli)
        if len(torch.unique(truth[rows])) < 2 or len(rows) < 3:
            return math.nan
        return agreement(fiedler_partition(clipped(matrix[rows][:, rows])).part, truth[rows]).accuracy

    found = bootstrap(statistic, stimuli=len(truth), draws=draws, level=1 - alpha)
    return {"low": found.low, "high": found.high}
