"""The page's pictures of neural similarity against accuracy, one pair a region, and a system's own table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Interval
from leaderboard import _text
from leaderboard._markup import Markup, element, joined
from leaderboard._svg import label
from leaderboard._tables import table
from leaderboard._values import bounded
from leaderboard.rows import Board, Row
from leaderboard.similarity import (
    ACCURACIES,
    EXPLANATION,
    REGIONS,
    Point,
    lines,
    missing,
    points,
    regions,
    related,
    together,
)

_MOST = 200
_WIDTH, _HEIGHT = 400, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 28, 46
_FLOOR = _HEIGHT - _BOTTOM


@dataclass(frozen=True)
class _Scale:
    """From similarity and share to the picture's coordinates."""

    first: float
    last: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, found: Sequence[Point]) -> _Scale:
        """From 0, or below it where points lie there, to the tenth above the highest end; shares between the tenths around."""
        ends, shares = _ends([p.line.similarity for p in found]), _ends([p.accuracy for p in found])
        lowest, highest = max(0.0, _tenth(min(shares) - 0.05)), min(1.0, _tenth(max(shares) + 0.05))
        around = (lowest, highest) if highest > lowest else (max(0.0, lowest - 0.1), min(1.0, highest + 0.1))
        return cls(max(-1.0, min(0.0, _tenth(min(ends) - 0.05))), min(1.0, max(0.1, _tenth(max(ends) + 0.05))), *around)

    def x(self, similarity: float) -> float:
        share = (min(self.last, max(self.first, similarity)) - self.first) / (self.last - self.first)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

    def y(self, share: float) -> float:
        height = (min(self.highest, max(self.lowest, share)) - self.lowest) / (self.highest - self.lowest)
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - height)

    def shares(self) -> list[float]:
        """Marks of the vertical axis, at most six steps."""
        step = next(step for step in (0.05, 0.1, 0.2) if step == 0.2 or self.highest - self.lowest < 5.5 * step)
        number = round((self.highest - self.lowest) / step + 1e-9)
        return [
            self.lowest + step * place
            for place in range(number + 1)
            if self.lowest + step * place < self.highest + 1e-9
        ]


def section(board: Board, place: int, boards: Sequence[Board] = ()) -> Markup | None:
    """Similarity against clean and robust accuracy over a board's systems and those of other victims in the same setting.

    None where no network was measured and nothing is to be said of it.
    """
    around = related(board, boards)
    told = list(dict.fromkeys(text for one in around for row in one.rows for text in missing(row)))
    pictures = [
        _picture(found, region, accuracy, board)
        for region in regions(around)
        for accuracy in ACCURACIES
        if len(found := points(around, region, accuracy)) > 1
    ]
    if not pictures and not told:
        return None
    heading = element("h2", f"Nearness to the brain and accuracy: {board.dataset} · {board.victim} · {board.suite}")
    more = " Hollow: the same systems on other victims." if len(around) > 1 else ""
    return element(
        "section",
        heading,
        element("div", joined(pictures), class_="curves") if pictures else None,
        element("p", EXPLANATION + more, class_="note") if pictures else None,
        joined(element("p", f"Not measured: {text}", class_="note") for text in told),
        class_="attacks",
        data_of=place,
        data_view="similarity",
    )


def detail(row: Row) -> Markup | None:
    """A system's similarity with each region, the layer, and what it is to be held against; or why it was not measured."""
    found = lines(row)
    told = [element("p", f"Not measured: {text}", class_="note") for text in missing(row)]
    if not found:
        return joined(told) if told else None
    titles = ("Region", "Similarity", "Layer", "Single people", "Noise ceiling", "Pixels alone")
    told_lines = [
        (
            line.title,
            _range(line.similarity),
            line.layer or _text.MISSING,
            _plain(line.people),
            f"{_plain(line.ceiling.low)}–{_plain(line.ceiling.high)}" if line.ceiling else _text.MISSING,
            _plain(line.pixels),
        )
        for line in found
    ]
    return joined([table(titles, told_lines), element("p", EXPLANATION, class_="note"), *told])


def _picture(found: Sequence[Point], region: str, accuracy: str, board: Board) -> Markup:
    scale, name = _Scale.of(found), REGIONS.get(region, region)
    drawn = sorted(found[:_MOST], key=lambda point: point.own)
    title = ACCURACIES[accuracy]
    title += f" at {_text.threat(board.headline)}" if accuracy == "robust_accuracy" else ""
    picture = element(
        "svg",
        _axes(scale, f"{title}, %", f"similarity with {name} ({found[0].line.compare.title()} correlation)"),
        joined(_bars(point, scale) for point in drawn),
        joined(_mark(point, scale) for point in drawn),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title} against similarity with {name} of {len(drawn)} systems; the figures stand in each system's details",
    )
    return element("figure", picture, element("figcaption", _words(found), class_="note"), class_="scatter")


def _words(found: Sequence[Point]) -> str:
    rank = together(found)
    cut = f" The first {_MOST} of {len(found):,} systems are drawn." if len(found) > _MOST else ""
    if rank is None:
        return f"{len(found)} systems.{cut}"
    value, networks = rank
    ends = f"{_signed(value.low)} to {_signed(value.high)}"
    return f"Rank correlation over {networks} networks: {_signed(value.value)} ({ends}).{cut}"


def _axes(scale: _Scale, above: str, below: str) -> Markup:
    parts = []
    for share in scale.shares():
        y = f"{scale.y(share):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(label(f"{100 * share:.0f}", _LEFT - 8, scale.y(share) + 4, "end"))
    for tenth in range(round(scale.first * 10), round(scale.last * 10) + 1):
        x = scale.x(tenth / 10)
        parts.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=_FLOOR, y2=_FLOOR + 4, class_="tick"))
        parts.append(label(_signed(tenth / 10, 1), x, _FLOOR + 18, "middle"))
    parts.append(label(above, 4, 14, "start", "title"))
    parts.append(label(below, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "middle", "title"))
    return joined(parts)


def _bars(point: Point, scale: _Scale) -> Markup:
    similarity, accuracy = point.line.similarity, point.accuracy
    x, y = f"{scale.x(similarity.value):.1f}", f"{scale.y(accuracy.value):.1f}"
    parts = []
    if bounded(accuracy):
        ends = {"y1": f"{scale.y(accuracy.low):.1f}", "y2": f"{scale.y(accuracy.high):.1f}"}
        parts.append(element("line", x1=x, x2=x, **ends, class_="bar"))
    if bounded(similarity):
        sides = {"x1": f"{scale.x(similarity.low):.1f}", "x2": f"{scale.x(similarity.high):.1f}"}
        parts.append(element("line", y1=y, y2=y, **sides, class_="bar"))
    return joined(parts)


def _mark(point: Point, scale: _Scale) -> Markup:
    row, similarity = point.line.row, point.line.similarity
    who = row.name if point.own else f"{row.name}, {point.victim}"
    words = f"{who}: {_range(similarity)} at {point.line.layer}, {_text.percent_interval(point.accuracy)} %"
    x, y = f"{scale.x(similarity.value):.1f}", f"{scale.y(point.accuracy.value):.1f}"
    kind = f"{'best' if point.own else 'other'}{' flagged' if row.flagged else ''}"
    return element("circle", element("title", words), cx=x, cy=y, r=3.6, class_=kind)


def _range(value: Interval) -> str:
    ends = f" ({_signed(value.low)} to {_signed(value.high)})" if bounded(value) else ""
    return _signed(value.value) + ends


def _ends(values: Sequence[Interval]) -> list[float]:
    return [end for v in values for end in ((v.low, v.high) if bounded(v) else (v.value, v.value))]


def _tenth(value: float) -> float:
    return round(value * 10) / 10


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "\u2212")


def _plain(value: float | None) -> str:
    return _text.MISSING if value is None else _signed(value, 3)
