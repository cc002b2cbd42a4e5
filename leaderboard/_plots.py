"""The page's picture of a board: robust against clean accuracy, with intervals, and the systems that none beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Interval
from leaderboard import _text
from leaderboard._markup import Markup, element, joined
from leaderboard._svg import label
from leaderboard._values import bounded
from leaderboard.rows import Board, Row

_MOST = 60
_WIDTH, _HEIGHT = 640, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 18, 28, 46
_NAMED = 12
_NEAR = 15.0  # pixels between two names, one above the other


@dataclass(frozen=True)
class _Point:
    row: Row
    clean: Interval
    robust: Interval


@dataclass(frozen=True)
class _Scale:
    """From shares to the picture's coordinates; clean accuracy begins at `first`."""

    first: float

    def x(self, share: float) -> float:
        place = (min(1.0, max(self.first, share)) - self.first) / (1.0 - self.first)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * place

    def y(self, share: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(1.0, max(0.0, share)))


def section(board: Board, place: int) -> Markup | None:
    """The picture of the first sixty systems; None where fewer than two have both figures."""
    points = []
    for row in board.rows[:_MOST]:
        clean, robust = row.metric("clean_accuracy"), row.metric("robust_accuracy")
        if clean is not None and robust is not None:
            points.append(_Point(row, clean, robust))
    if len(points) < 2:
        return None
    cut = f" The first {_MOST} of {len(board.rows):,} systems." if len(board.rows) > _MOST else ""
    words = (
        "Bars are 95 % intervals. Filled: no other system has both more clean and more robust accuracy, by the values alone; "
        f"a line joins these. Hollow orange: a flag speaks against the number.{cut} The figures stand in the table above."
    )
    figure = element("figure", _picture(points, board), element("figcaption", words, class_="note"), class_="scatter")
    summary = element("summary", f"What robustness costs in clean accuracy: {board.dataset} · {board.victim}")
    return element("section", element("details", summary, figure), class_="plot", data_of=place, data_view="ranking")


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of points that no other exceeds in both coordinates, or in one where the other is equal."""
    return [
        i
        for i, (x, y) in enumerate(points)
        if not any((a >= x and b >= y and (a, b) != (x, y)) for j, (a, b) in enumerate(points) if j != i)
    ]


def _picture(points: Sequence[_Point], board: Board) -> Markup:
    lowest = min(point.clean.low if bounded(point.clean) else point.clean.value for point in points)
    scale = _Scale(max(0.0, int(lowest * 10 - 0.2) / 10))
    best = front([(point.clean.value, point.robust.value) for point in points])
    stairs = sorted((points[i] for i in best), key=lambda point: point.clean.value)
    line = " ".join(f"{scale.x(p.clean.value):.1f},{scale.y(p.robust.value):.1f}" for p in stairs)
    return element(
        "svg",
        _axes(scale, board),
        element("polyline", points=line, class_="front") if len(stairs) > 1 else None,
        joined(_bars(point, scale) for point in points),
        joined(_mark(point, scale, best=i in best) for i, point in enumerate(points)),
        joined(_names(points, best, scale)),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"Robust against clean accuracy of {len(points)} systems; the figures stand in the table",
    )


def _axes(scale: _Scale, board: Board) -> Markup:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = f"{scale.y(share):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(label(f"{100 * share:.0f}", _LEFT - 8, scale.y(share) + 4, "end"))
    tenths = range(round(scale.first * 10), 11)
    for tenth in tenths:
        x = f"{scale.x(tenth / 10):.1f}"
        parts.append(element("line", x1=x, x2=x, y1=scale.y(0), y2=scale.y(0) + 4, class_="tick"))
        parts.append(label(f"{10 * tenth}", scale.x(tenth / 10), scale.y(0) + 18, "middle"))
    parts.append(label(f"robust accuracy at {_text.threat(board.headline)}, %", 4, 14, "start", "title"))
    parts.append(label("clean accuracy, %", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "middle", "title"))
    return joined(parts)


def _bars(point: _Point, scale: _Scale) -> Markup:
    x, y = scale.x(point.clean.value), scale.y(point.robust.value)
    parts = []
    if bounded(point.robust):
        ends = {"y1": f"{scale.y(point.robust.low):.1f}", "y2": f"{scale.y(point.robust.high):.1f}"}
        parts.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", **ends, class_="bar"))
    if bounded(point.clean):
        sides = {"x1": f"{scale.x(point.clean.low):.1f}", "x2": f"{scale.x(point.clean.high):.1f}"}
        parts.append(element("line", y1=f"{y:.1f}", y2=f"{y:.1f}", **sides, class_="bar"))
    return joined(parts)


def _mark(point: _Point, scale: _Scale, *, best: bool) -> Markup:
    clean, robust = _text.percent_interval(point.clean), _text.percent_interval(point.robust)
    title = element("title", f"{point.row.place} {point.row.name}: clean {clean} %, robust {robust} %")
    x, y = f"{scale.x(point.clean.value):.1f}", f"{scale.y(point.robust.value):.1f}"
    kind = f"{'best' if best else 'other'}{' flagged' if point.row.flagged else ''}"
    return element("circle", title, cx=x, cy=y, r=4.5, class_=kind)


def _names(points: Sequence[_Point], best: Sequence[int], scale: _Scale) -> list[Markup]:
    """Names of the front first, then of others while there is room."""
    order = [*best, *(i for i in range(len(points)) if i not in best)]
    places: list[tuple[float, float, float]] = []
    found: list[Markup] = []
    for i in order:
        point = points[i]
        x, y = scale.x(point.clean.value), scale.y(point.robust.value)
        text = f"{point.row.place} {point.row.name}"
        text = text if len(text) <= 34 else f"{text[:33]}…"
        left = x > _WIDTH * 0.62
        start = x - 9 - 6.3 * len(text) if left else x + 9
        end = start + 6.3 * len(text)
        if any(abs(y - b) < _NEAR and start < d and end > c for b, c, d in places) or len(found) == _NAMED:
            continue
        places.append((y, start, end))
        found.append(label(text, x - 9 if left else x + 9, y - 6, "end" if left else "start", "point"))
    return found
