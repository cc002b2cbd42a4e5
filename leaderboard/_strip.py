"""What became of every test input at the headline threat: held, wrong before any attack, or broken, and by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard import _text
from leaderboard._markup import Markup, element, joined
from leaderboard._values import number, plain, sequence

_COLUMNS = 100
_COLOURS = 6
HELD, WRONG, OTHERS = "held", "wrong or rejected before any attack", "other attacks"


@dataclass(frozen=True)
class Fate:
    """One kind of outcome and the places of the inputs that had it."""

    name: str
    kind: str
    places: Sequence[int]


def fates(per_input: Mapping[str, Any]) -> list[Fate]:
    """The inputs by outcome; one with probabilities counts by what happens more often than not."""
    robust = [number(value) for value in sequence(per_input.get("robust"))]
    clean = [number(value) for value in sequence(per_input.get("clean"))]
    breaker = [plain(value) for value in sequence(per_input.get("breaker"))]
    clean += [1.0] * (len(robust) - len(clean))
    breaker += [""] * (len(robust) - len(breaker))
    outcome = [_outcome(*values) for values in zip(clean, robust, breaker, strict=False)]
    attacks = [name for name, _ in Counter(name for name in outcome if name not in (HELD, WRONG)).most_common()]
    found = [_fate(HELD, "held", outcome, {HELD})]
    found += [_fate(f"broken by {name}", f"attack{i}", outcome, {name}) for i, name in enumerate(attacks[:_COLOURS])]
    found.append(_fate(f"broken by {OTHERS}", "others", outcome, set(attacks[_COLOURS:])))
    found.append(_fate(WRONG, "wrong", outcome, {WRONG}))
    return [fate for fate in found if fate.places]


def _outcome(clean: float | None, robust: float | None, breaker: str) -> str:
    if clean is not None and clean < 0.5:
        return WRONG
    return HELD if robust is not None and robust >= 0.5 else breaker or OTHERS


def _fate(name: str, kind: str, outcome: Sequence[str], names: set[str]) -> Fate:
    return Fate(name, kind, [place for place, found in enumerate(outcome) if found in names])


def strip(per_input: Mapping[str, Any]) -> Markup | None:
    """A square an input, in the order of the test set, with counts beneath; None where nothing is known."""
    found = fates(per_input)
    total = sum(len(fate.places) for fate in found)
    if not total:
        return None
    rows = -(-total // _COLUMNS)
    squares = joined(element("path", element("title", fate.name), d=_path(fate), class_=fate.kind) for fate in found)
    label = f"Outcome of each of {total} inputs; the counts stand beneath"
    picture = element("svg", squares, viewBox=f"0 0 {_COLUMNS} {rows}", role="img", aria_label=label, class_="strip")
    bar = _bar(found, total)
    keys = joined(element("li", _swatch(fate), _words(fate, total)) for fate in found)
    note = None
    if any(0 < (number(value) or 0.0) < 1 for value in sequence(per_input.get("robust"))):
        note = element("p", "The system is random: an input counts by what happens more often than not.", class_="note")
    return element(
        "figure", bar, picture, element("figcaption", element("ul", keys, class_="fates"), note), class_="inputs"
    )


def _bar(found: Sequence[Fate], total: int) -> Markup:
    """The shares of the outcomes as one bar from 0 to 100 %."""
    parts, start = [], 0.0
    for fate in found:
        width = 100 * len(fate.places) / total
        parts.append(element("rect", x=f"{start:.2f}%", width=f"{width:.2f}%", y=0, height=16, class_=fate.kind))
        start += width
    return element("svg", *parts, width="100%", height=16, aria_hidden="true", class_="shares")


def _path(fate: Fate) -> str:
    """Squares as one path of short strokes, as thick as they are long; inputs that were wrong anyway are smaller."""
    side = 0.5 if fate.kind == "wrong" else 0.86
    gap = round((1 - side) / 2, 2)
    columns = [f"{column + gap:g}" for column in range(_COLUMNS)]
    rows = [f"{row + 0.5:g}h{side}" for row in range(fate.places[-1] // _COLUMNS + 1)]
    return "".join(f"M{columns[place % _COLUMNS]} {rows[place // _COLUMNS]}" for place in fate.places)


def _swatch(fate: Fate) -> Markup:
    side = 6 if fate.kind == "wrong" else 10
    gap = (12 - side) / 2
    square = element("rect", x=gap, y=gap, width=side, height=side, class_=fate.kind)
    return element("svg", square, width=12, height=12, aria_hidden="true")


def _words(fate: Fate, total: int) -> Markup:
    number_of = element("b", _text.whole(len(fate.places)))
    return joined([number_of, f" {fate.name} ({100 * len(fate.places) / total:.1f} %)"])
