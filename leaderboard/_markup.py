"""HTML and SVG that are escaped by construction: text becomes markup only through `element`."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

_VOID = frozenset({"img", "input", "wbr"})
_BREAKS = re.compile(r"([_./,(]+)")


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element; None children and None or False attributes are left out, True ones stand alone.

    Attributes: a trailing underscore is dropped, others become hyphens (class_, data_row).
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    inner = "".join(escaped(child) for child in children if child is not None)
    return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{inner}</{name}>")


def joined(parts: Iterable[str | None]) -> Markup:
    """Parts one after another, text among them escaped."""
    return Markup("".join(escaped(part) for part in parts if part is not None))


def breakable(text: str) -> Markup:
    """A name that may break after its underscores, dots, slashes and commas."""
    return joined(part if i % 2 == 0 else joined([part, element("wbr")]) for i, part in enumerate(_BREAKS.split(text)))


def escaped(text: str) -> str:
    """Text as markup; markup as it is."""
    return text if isinstance(text, Markup) else html.escape(text, quote=True)


def _attribute(key: str, value: str | float | None) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value), quote=True)}"'


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
