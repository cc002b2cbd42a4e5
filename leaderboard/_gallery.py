"""Adversarial images: clean, adversarial and magnified difference side by side."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from leaderboard import _text
from leaderboard._markup import Markup, element, joined
from leaderboard._values import mappings, number, plain

_MOST = 12
_LARGEST = 400_000
_PNG = b"\x89PNG\r\n\x1a\n"


def gallery(pictures: Any) -> Markup | None:
    """Up to twelve inputs; None without pictures."""
    shown = [_input(item) for item in mappings(pictures)[:_MOST]]
    if not shown:
        return None
    words = "Difference: grey is no change; brighter and darker are magnified until the largest change fills the range."
    return joined([element("div", joined(shown), class_="gallery"), element("p", words, class_="note")])


def _input(item: Mapping[str, Any]) -> Markup:
    label, prediction = plain(item.get("label")) or "?", plain(item.get("prediction")) or "?"
    norm, epsilon = plain(item.get("norm")), number(item.get("epsilon"))
    ball = _text.ball(norm, epsilon) if norm and epsilon is not None else ""
    distance = number(item.get("distance"))
    details = [plain(item.get("attack")), ball, f"distance {distance:.3g}" if distance is not None else ""]
    kinds = (("clean", label), ("adversarial", prediction), ("difference", "difference"))
    images = joined(_image(item.get(f"{kind}_png"), kind, words) for kind, words in kinds)
    title = element("b", f"#{plain(item.get('index'))}: {label} → {prediction}")
    caption = element("figcaption", title, element("span", " · ".join(filter(None, details))))
    return element("figure", element("div", images, class_="triple"), caption)


def _image(data: Any, kind: str, words: str) -> Markup:
    encoded = data if isinstance(data, str) and len(data) <= _LARGEST and _is_png(data) else None
    if encoded is None:
        return element("span", "no picture", class_="absent")
    alternative = words if kind == "difference" else f"{kind}, seen as {words}"
    return element("img", src=f"data:image/png;base64,{encoded}", alt=alternative, title=kind)


def _is_png(data: str) -> bool:
    try:
        return base64.b64decode(data, validate=True).startswith(_PNG)
    except (binascii.Error, ValueError):
        return False
