"""A value with its interval in a cell: the ends stand beneath it, or beside it, in smaller figures."""

from __future__ import annotations

from harness.types import Interval
from leaderboard import _text
from leaderboard._markup import Markup, element, joined


def share(value: Interval | None) -> Markup:
    """A share in per cent."""
    return _cell(_text.percent(value), _text.percent_range(value))


def area(value: Interval | None) -> Markup:
    """An area under a curve."""
    middle, _, ends = _text.area(value).partition(" ")
    return _cell(middle, ends.strip("()"))


def _cell(middle: str, ends: str) -> Markup:
    return joined([middle, " " if ends else None, element("span", ends, class_="range") if ends else None])
