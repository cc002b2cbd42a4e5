"""Pieces that every drawing of the page is made of."""

from __future__ import annotations

from leaderboard._markup import Markup, element


def label(text: str, x: float, y: float, anchor: str, kind: str = "label") -> Markup:
    """A text at a place, in the picture's pixels; anchor: start, middle or end."""
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)
