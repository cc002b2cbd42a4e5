"""Text that waits in the page until it is wanted: compressed, and unpacked by the browser's own DecompressionStream."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

_LEVEL = 6


def packed(text: str) -> str:
    """Text as base64 of a zlib stream (RFC 1950)."""
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), _LEVEL)).decode("ascii")


def unpacked(text: str) -> str:
    """What `packed` was given."""
    return zlib.decompress(base64.b64decode(text)).decode("utf-8")


def packed_json(value: Any) -> str:
    """A value as JSON, packed; numbers must be finite."""
    return packed(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
