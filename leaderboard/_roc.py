"""A detector's receiver operating characteristic, false positives on a logarithmic axis, with 1 and 5 % marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard import _text
from leaderboard._markup import Markup, element, joined
from leaderboard._svg import label
from leaderboard._values import interval, mappings, number, plain
from leaderboard.rows import threat_of

_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 26, 44
_LEAST = 0.001
_MARKED = (0.01, 0.05)


def roc(curves: Any) -> Markup | None:
    """A line for each kind of attacker, and the figures at the two marks beneath; None without curves."""
    found = [(plain(curve.get("knowledge")), _points(curve), curve) for curve in mappings(curves)]
    found = [each for each in found if each[1]]
    if not found:
        return None
    picture = element(
        "svg",
        _axes(),
        joined(_line(name, points) for name, points, _ in reversed(found)),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label="True against false positives of the detector; the figures at 1 and 5 % stand beneath",
    )
    words = [_words(name, points, curve) for name, points, curve in found]
    caption = element("figcaption", element("ul", joined(words), class_="fates"))
    return element("figure", picture, caption, class_="curve")


def _points(curve: Mapping[str, Any]) -> list[tuple[float, float, float, float]]:
    """False-positive rate, true-positive rate and its ends."""
    points = []
    for point in mappings(curve.get("points")):
        rate, value = number(point.get("fpr")), interval({**point, "value": point.get("tpr")})
        if rate is not None and rate > 0 and value is not None:
            points.append((rate, value.value, value.low, value.high))
    return sorted(points)


def _x(rate: float) -> float:
    place = (math.log10(max(rate, _LEAST)) - math.log10(_LEAST)) / -math.log10(_LEAST)
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, place)


def _y(share: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(1.0, max(0.0, share)))


def _axes() -> Markup:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = f"{_y(share):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(label(f"{100 * share:.0f}", _LEFT - 7, _y(share) + 4, "end"))
    for rate in (0.001, 0.01, 0.05, 0.1, 1.0):
        x, marked = f"{_x(rate):.1f}", rate in _MARKED
        top = _y(1) if marked else _y(0)
        line = element("line", x1=x, x2=x, y1=top, y2=_y(0) + 4, class_="headline" if marked else "tick")
        parts += [line, label(f"{100 * rate:g}", _x(rate), _y(0) + 17, "middle")]
    chance = " ".join(f"{_x(rate):.1f},{_y(rate):.1f}" for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0))
    parts.append(element("polyline", points=chance, class_="chance"))
    parts.append(label("attacked and wrong inputs rejected, % (band: 95 % interval)", 4, 13, "start", "title"))
    parts.append(
        label("clean inputs rejected, %, logarithmic", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "middle", "title")
    )
    return joined(parts)


def _line(name: str, points: Sequence[tuple[float, float, float, float]]) -> Markup:
    kind = "oblivious" if name == "oblivious" else "adaptive"
    known = [point for point in points if not (math.isnan(point[2]) or math.isnan(point[3]))]
    ends = [(rate, high) for rate, _, _, high in known] + [(rate, low) for rate, _, low, _ in reversed(known)]
    band = element("polygon", points=_path(ends), class_=f"band {kind}") if len(known) > 1 else None
    line = element("polyline", points=_path([(rate, value) for rate, value, _, _ in points]), class_=f"line {kind}")
    return joined([band, line])


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_x(rate):.1f},{_y(share):.1f}" for rate, share in points)


def _words(name: str, points: Sequence[tuple[float, float, float, float]], curve: Mapping[str, Any]) -> Markup:
    kind = "oblivious" if name == "oblivious" else "adaptive"
    swatch = element(
        "svg",
        element("line", x1=0, x2=26, y1=6, y2=6, class_=f"line {kind}"),
        width=26,
        height=12,
        aria_hidden="true",
    )
    figures = [
        f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f}) % at {100 * rate:g} %"
        for rate, value, low, high in points
        if rate in _MARKED
    ]
    threat = threat_of(curve)
    inputs = f", {_text.whole(number(curve.get('inputs')))} inputs"
    words = f"{_text.threat(threat) if threat else name}{inputs}: {', '.join(figures) or 'too few inputs for 5 %'}"
    return element("li", swatch, words)
