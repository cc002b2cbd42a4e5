"""Robust accuracy against the size of the perturbation, as SVG with its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Interval, Threat
from leaderboard import _text
from leaderboard._markup import Markup, element, joined
from leaderboard._svg import label
from leaderboard._values import bounded

_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 26, 44


@dataclass(frozen=True)
class Scale:
    """From epsilon and share to the picture's coordinates."""

    largest: float

    def x(self, epsilon: float) -> float:
        """Place of an epsilon, pixels from the left."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * epsilon / self.largest

    def y(self, share: float) -> float:
        """Place of a share, pixels from the top."""
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(1.0, max(0.0, share)))


Points = list[tuple[float, Interval]]


def curves(threats: dict[Threat, Interval], clean: Interval | None, headline: Threat) -> list[Markup]:
    """One figure a norm, the headline's first; a line for each kind of attacker."""
    norms = list(dict.fromkeys([headline.norm, *(threat.norm for threat in threats)]))
    return [figure for norm in norms if (figure := _figure(norm, threats, clean, headline)) is not None]


def _figure(norm: str, threats: dict[Threat, Interval], clean: Interval | None, headline: Threat) -> Markup | None:
    lines: dict[str, Points] = {}
    for threat, value in threats.items():
        if threat.norm == norm and threat.epsilon > 0:
            lines.setdefault(threat.knowledge, []).append((threat.epsilon, value))
    if not lines:
        return None
    start: Points = [] if clean is None else [(0.0, clean)]
    drawn = {name: start + sorted(points, key=lambda point: point[0]) for name, points in sorted(lines.items())}
    epsilons = sorted({epsilon for points in drawn.values() for epsilon, _ in points})
    scale = Scale(epsilons[-1] * 1.04)
    marked = headline.epsilon if headline.norm == norm and headline.epsilon in epsilons else None
    picture = element(
        "svg",
        _axes(scale, epsilons, _text.axis(norm)),
        _headline(scale, marked) if marked else None,
        joined(_line(name, points, scale) for name, points in reversed(drawn.items())),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"Robust accuracy against epsilon in the {norm} norm; the numbers stand in the table of threats",
    )
    legend = element("span", joined(_key(name) for name in drawn), class_="keys")
    return element("figure", picture, element("figcaption", legend), class_="curve")


def _axes(scale: Scale, epsilons: Sequence[float], title: str) -> Markup:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = f"{scale.y(share):.1f}"
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height, class_="grid"))
        parts.append(label(f"{100 * share:.0f}", _LEFT - 7, scale.y(share) + 4, "end"))
    last = -100.0
    for epsilon in dict.fromkeys([0.0, *epsilons]):
        place, bottom = scale.x(epsilon), scale.y(0)
        parts.append(element("line", x1=f"{place:.1f}", x2=f"{place:.1f}", y1=bottom, y2=bottom + 4, class_="tick"))
        if place - last >= 38:
            parts.append(label(_text.size(epsilon), place, bottom + 17, "middle"))
            last = place
    parts.append(label("robust accuracy, % (band: 95 % interval)", 4, 13, "start", "title"))
    parts.append(label(title, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "middle", "title"))
    return joined(parts)


def _headline(scale: Scale, epsilon: float) -> Markup:
    place, end = scale.x(epsilon), scale.x(epsilon) > _WIDTH - 70
    x = f"{place:.1f}"
    line = element("line", x1=x, x2=x, y1=scale.y(1), y2=scale.y(0), class_="headline")
    return joined(
        [line, label("headline", place - 5 if end else place + 5, scale.y(1) + 12, "end" if end else "start")]
    )


def _line(name: str, points: Points, scale: Scale) -> Markup:
    kind = _kind(name)
    ends = [(epsilon, value) for epsilon, value in points if bounded(value)]
    around = [(epsilon, value.high) for epsilon, value in ends] + [
        (epsilon, value.low) for epsilon, value in ends[::-1]
    ]
    band = element("polygon", points=_points(around, scale), class_=f"band {kind}") if len(ends) > 1 else None
    line = element("polyline", points=_points([(e, value.value) for e, value in points], scale), class_=f"line {kind}")
    return joined([band, line, *(_dot(name, point, scale) for point in points)])


def _dot(name: str, point: tuple[float, Interval], scale: Scale) -> Markup:
    epsilon, value = point
    kind, x, y = _kind(name), scale.x(epsilon), scale.y(value.value)
    who = "clean" if epsilon == 0 else f"ε = {_text.size(epsilon)}, {name}"
    title = element("title", f"{who}: {_text.percent_interval(value)} %")
    if kind == "oblivious":
        return element(
            "rect", title, x=f"{x - 3.2:.1f}", y=f"{y - 3.2:.1f}", width=6.4, height=6.4, class_=f"dot {kind}"
        )
    return element("circle", title, cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.6, class_=f"dot {kind}")


def _key(name: str) -> Markup:
    words = {"adaptive": "adaptive: the attacker knows the defense", "oblivious": "oblivious: attacks the bare victim"}
    kind = _kind(name)
    line = element("line", x1=0, x2=26, y1=6, y2=6, class_=f"line {kind}")
    mark = element("rect", x=9.8, y=2.8, width=6.4, height=6.4, class_=f"dot {kind}")
    if kind != "oblivious":
        mark = element("circle", cx=13, cy=6, r=3.6, class_=f"dot {kind}")
    swatch = element("svg", line, mark, width=26, height=12, aria_hidden="true")
    return element("span", swatch, words.get(name, name), class_="key")


def _kind(name: str) -> str:
    return "oblivious" if name == "oblivious" else "adaptive"


def _points(places: Sequence[tuple[float, float]], scale: Scale) -> str:
    return " ".join(f"{scale.x(epsilon):.1f},{scale.y(share):.1f}" for epsilon, share in places)
