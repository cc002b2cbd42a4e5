"""Robust accuracy as a point with its interval, clean accuracy as a ring, on a line from 0 to 100 %."""

from __future__ import annotations

from harness.types import Interval
from leaderboard import _text
from leaderboard._markup import Markup, element
from leaderboard._values import bounded


def whisker(robust: Interval | None, clean: Interval | None) -> Markup:
    """The picture in a cell; its numbers stand beside it, so that it is hidden from readers of the screen."""
    line = element("line", x1="0%", x2="100%", y1=9, y2=9, class_="track")
    ticks = [element("line", x1=place, x2=place, y1=5, y2=13, class_="track") for place in ("0%", "50%", "100%")]
    marks = [line, *ticks]
    if robust is not None and clean is not None and clean.value > robust.value:
        gap = {"x1": _at(robust.value), "x2": _at(clean.value)}
        marks.append(element("line", **gap, y1=9, y2=9, class_="gap"))
    if clean is not None:
        marks.append(element("circle", cx=_at(clean.value), cy=9, r=3.6, class_="clean"))
    if robust is not None:
        if bounded(robust):
            ends = {"x1": _at(robust.low), "x2": _at(robust.high)}
            marks.append(element("line", **ends, y1=9, y2=9, class_="interval"))
        marks.append(element("circle", cx=_at(robust.value), cy=9, r=2.7, class_="robust"))
    return element("svg", *marks, class_="whisker", height=18, aria_hidden="true")


def axis() -> Markup:
    """The scale over the whiskers, for the head of the column."""
    places = (("0%", "start", "0"), ("50%", "middle", "50"), ("100%", "end", f"100{_text.THIN}%"))
    labels = [element("text", text, x=x, y=10, text_anchor=anchor) for x, anchor, text in places]
    return element("svg", *labels, class_="axis", height=13, aria_hidden="true")


def _at(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"
