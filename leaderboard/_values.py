"""Reading records: what is missing or malformed becomes None or empty, text loses what could steer a terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from harness.types import Interval


def plain(value: Any) -> str:
    """Text on one line, without control characters and without changes of writing direction; "" for None."""
    text = "" if value is None else str(value)
    return (text if text.isprintable() else "".join(map(_character, text))).strip()


def _character(character: str) -> str:
    if character.isspace():
        return " "
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def interval(value: Any) -> Interval | None:
    """An interval from its JSON object; None without a value, and an unknown end is NaN."""
    fields = value if isinstance(value, Mapping) else {"value": value}
    middle, low, high = (number(fields.get(name)) for name in ("value", "low", "high"))
    if middle is None:
        return None
    return Interval(middle, math.nan if low is None else low, math.nan if high is None else high)


def bounded(value: Interval) -> bool:
    """Whether both ends of an interval are known."""
    return math.isfinite(value.low) and math.isfinite(value.high)


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, empty where it is none."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, empty where it is none."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def sequence(value: Any) -> list[Any]:
    """A list, empty where it is none."""
    return list(value) if isinstance(value, list | tuple) else []
