"""How near systems' networks are to the brain, from their records, and how that goes with their accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.types import Interval
from leaderboard._values import interval, mapping, mappings, number, plain
from leaderboard.rows import Board, Row

ACCURACIES = {"clean_accuracy": "clean accuracy", "robust_accuracy": "robust accuracy"}
REGIONS = {"human_it": "human IT", "monkey_it": "monkey IT"}
EXPLANATION = (
    "Similarity: correlation of a layer's dissimilarities among the images with a region's. The layer is chosen on one half of "
    "the images and compared on the other, both ways round for several halves; intervals are 95 % over images, and the same "
    "images are behind all systems. Single people: mean similarity with each person's region, to be held against the noise "
    "ceiling, what the mean of the others and of all people reach."
)
_MEASURE = "neural_similarity"
_DRAWS = 400
_LEAST = 5  # networks for a correlation over them


@dataclass(frozen=True)
class Line:
    """A region's similarity with a system's network, the layer, and what it is to be held against; None where unknown."""

    row: Row
    region: str
    similarity: Interval
    layer: str
    compare: str
    people: float | None
    ceiling: Interval | None
    pixels: float | None

    @property
    def title(self) -> str:
        """The region in words."""
        return REGIONS.get(self.region, self.region)


def lines(row: Row) -> list[Line]:
    """What the record of one system holds; what is malformed is left out."""
    found = []
    for item in _measured(row):
        for line in mappings(item.get("rows")):
            value, region = interval(line), plain(line.get("name"))
            if value is not None and region and abs(value.value) <= 1:
                found.append(_line(row, region, value, line))
    return found


def missing(row: Row) -> list[str]:
    """Why a system's network was not measured."""
    return [text for item in _measured(row) if (text := plain(item.get("missing")))]


def columns(row: Row) -> dict[str, float | str | None]:
    """The columns of a system in CSV and JSON: each region's similarity, its ends, and the layer; empty without a measure."""
    found: dict[str, float | str | None] = {}
    for line in lines(row):
        name = f"similarity_{line.region}"
        if name not in found:
            ends = {f"{name}_low": line.similarity.low, f"{name}_high": line.similarity.high}
            found |= {name: line.similarity.value, **ends, f"{name}_layer": line.layer}
    return found


@dataclass(frozen=True)
class Point:
    """A system in the plane of similarity and accuracy; own: it stands on the board at hand."""

    line: Line
    accuracy: Interval
    victim: str
    own: bool


def related(board: Board, boards: Sequence[Board]) -> list[Board]:
    """The boards that differ from this one in the victim only, itself first."""

    def setting(one: Board) -> tuple[Any, ...]:
        return one.suite, one.size, one.dataset, one.headline, one.seed

    others = [other for other in boards if other is not board and setting(other) == setting(board)]
    return [board, *(other for other in others if other.victim != board.victim)]


def points(boards: Sequence[Board], region: str, accuracy: str) -> list[Point]:
    """Every system of the boards, the first being the one at hand, for which both are known."""
    found = []
    for place, board in enumerate(boards):
        for row in board.rows:
            value = row.metric(accuracy)
            for line in lines(row) if value is not None else ():
                if line.region == region and value is not None:
                    found.append(Point(line, value, board.victim, place == 0))
                    break
    return found


def regions(boards: Sequence[Board]) -> list[str]:
    """The regions of all systems, in the order of the records."""
    return list(dict.fromkeys(line.region for board in boards for row in board.rows for line in lines(row)))


def together(found: Sequence[Point]) -> tuple[Interval, int] | None:
    """Spearman's correlation of similarity and accuracy over networks, and their number; None for fewer than five.

    Systems that share a network count once, with their mean accuracy; the interval is a bootstrap over networks.
    """
    groups: dict[tuple[str, float], list[float]] = {}
    for point in found:
        groups.setdefault((point.victim, point.line.similarity.value), []).append(point.accuracy.value)
    if len(groups) < _LEAST:
        return None
    x = np.array([value for _, value in groups])
    y = np.array([float(np.mean(values)) for values in groups.values()])
    random = np.random.default_rng(0)
    drawn = [_spearman(x[some], y[some]) for some in random.integers(len(x), size=(_DRAWS, len(x)))]
    estimate, known = _spearman(x, y), np.array([value for value in drawn if np.isfinite(value)])
    if not np.isfinite(estimate) or not len(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(estimate, float(low), float(high)), len(groups)


def _spearman(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    from scipy.stats import rankdata

    if x.min() == x.max() or y.min() == y.max():
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _measured(row: Row) -> list[Mapping[str, Any]]:
    found = mapping(row.record.get("measures")).values()
    return [item for item in mappings(list(found)) if plain(item.get("measure")) == _MEASURE]


def _line(row: Row, region: str, value: Interval, line: Mapping[str, Any]) -> Line:
    low, high = number(line.get("ceiling_low")), number(line.get("ceiling_high"))
    ceiling = None if low is None or high is None else Interval((low + high) / 2, low, high)
    words = plain(line.get("layer")), plain(line.get("compare"))
    return Line(row, region, value, *words, number(line.get("people")), ceiling, number(line.get("pixels")))
