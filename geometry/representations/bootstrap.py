"""Bias-corrected and accelerated bootstrap over stimuli, and over subjects (sessions, conditions) beside them.

A stimulus that is drawn twice is at distance 0 from itself; such pairs are left out, as they would inflate every similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from geometry.representations._matrix import pair_indices, require_matrix, require_same_order

Statistic = Callable[[Tensor, Tensor], float]
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """An estimate, the ends of its interval, the two-sided p-value against `null`, and the draws themselves (D,)."""

    estimate: float
    low: float
    high: float
    p: float
    draws: Tensor


def bootstrap(
    statistic: Statistic,
    *,
    stimuli: int,
    subjects: int = 1,
    draws: int = 1000,
    level: float = 0.95,
    null: float = 0.0,
    seed: int = 0,
) -> Bootstrap:
    """The interval of statistic(stimuli, subjects), which gets indices, with repetitions, of what was drawn.

    Stimuli are drawn anew, and so are subjects where there are several; the jackknife leaves out one of either. Draws for
    which the statistic is nan are left out. Raises ValueError where all are. Source: Efron 1987; Davison and Hinkley 1997.
    """
    generator = torch.Generator().manual_seed(seed)
    all_stimuli, all_subjects = torch.arange(stimuli), torch.arange(subjects)
    estimate = statistic(all_stimuli, all_subjects)
    found = []
    for _ in range(draws):
        chosen = torch.randint(stimuli, (stimuli,), generator=generator)
        others = torch.randint(subjects, (subjects,), generator=generator) if subjects > 1 else all_subjects
        found.append(statistic(chosen, others))
    sample = torch.tensor(found, dtype=torch.float64)
    sample = sample[torch.isfinite(sample)]
    if not len(sample):
        raise ValueError(f"the statistic is undefined in all {draws} draws; give more stimuli")
    left_out = [[statistic(_without(all_stimuli, place), all_subjects) for place in range(stimuli)]]
    if subjects > 2:  # of two, leaving one out leaves no variance between them
        left_out.append([statistic(all_stimuli, _without(all_subjects, place)) for place in range(subjects)])
    jackknife = [torch.tensor(values, dtype=torch.float64) for values in left_out]
    low, high = bca_interval(estimate, sample, jackknife, level=level)
    return Bootstrap(estimate, low, high, _p_value(sample, null), sample)


def bootstrap_similarity(
    first: Tensor, second: Tensor, compare: Callable[[Tensor, Tensor], Tensor], *, draws: int = 1000, seed: int = 0
) -> Bootstrap:
    """The interval of the similarity of two matrices; of first (R, N, N), R subjects, the mean of their similarities.

    compare: a function of vectors of pairs, such as comparison.pearson_of_pairs.
    """
    require_matrix(first, "the first matrix")
    require_matrix(second, "the second matrix")
    require_same_order(first, second)
    several = first if first.ndim == 3 else first[None]

    def statistic(stimuli: Tensor, subjects: Tensor) -> float:
        row, column = distinct_pairs(stimuli)
        own, other = several[subjects][:, row, column], second[row, column]
        if len(row) < 3 or float(own.std(1).min()) == 0 or float(other.std()) == 0:
            return float("nan")
        return sum(float(compare(pairs, other)) for pairs in own) / len(own)

    return bootstrap(statistic, stimuli=first.shape[-1], subjects=len(several), draws=draws, seed=seed)


def distinct_pairs(stimuli: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, in the whole matrix, of all pairs of drawn stimuli that are not one stimulus twice."""
    row, column = (stimuli[places] for places in pair_indices(len(stimuli)))
    distinct = row != column
    return row[distinct], column[distinct]


def bca_interval(
    estimate: float, sample: Tensor, jackknife: Sequence[Tensor], *, level: float = 0.95
) -> tuple[float, float]:
    """The bias-corrected and accelerated interval of a bootstrap sample (D,).

    jackknife: for each factor that was drawn (stimuli, subjects) the statistic with one left out; the skewness and
    variance of independent factors add. Source: Efron 1987; Efron and Tibshirani 1993, chapter 14.
    """
    ordered = sample.sort().values
    share = float(((sample < estimate).double() + (sample <= estimate).double()).mean() / 2)
    if not 0 < share < 1 or float(ordered[0]) == float(ordered[-1]):
        return float(ordered.quantile((1 - level) / 2)), float(ordered.quantile((1 + level) / 2))
    bias, skew, spread = _NORMAL.inv_cdf(share), 0.0, 0.0
    for values in jackknife:
        values = values[torch.isfinite(values)]
        influence = (len(values) - 1) * (values.mean() - values)
        skew += float((influence**3).sum()) / len(values) ** 3
        spread += float((influence**2).sum()) / len(values) ** 2
    acceleration = skew / (6 * spread**1.5) if spread > 0 else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        place = _NORMAL.cdf(bias + z / (1 - acceleration * z))
        ends.append(float(ordered.quantile(min(max(place, 0.0), 1.0))))
    return ends[0], ends[1]


def _without(places: Tensor, place: int) -> Tensor:
    return places[places != place]


def _p_value(sample: Tensor, null: float) -> float:
    """Two-sided: twice the smaller share of draws on either side of the null, at least 2 / (D + 1)."""
    side = min(float((sample <= null).sum()), float((sample >= null).sum()))
    return min(1.0, 2 * (side + 1) / (len(sample) + 1))
