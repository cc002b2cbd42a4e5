"""Whether a system's gradients are those of its values, from what the probe measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOUND = 0.8  # cosine of finite differences and gradient at the better of two steps; smooth networks have .98


def agreement(mismatch: Mapping[str, Any]) -> dict[str, float]:
    """The larger cosine of both steps, of the class margin ("") and of the detection margin ("detection_"), if measured."""
    found: dict[str, float] = {}
    for kind in ("", "detection_"):
        cosines = [mismatch[kind + step] for step in ("near", "far") if mismatch.get(kind + step) is not None]
        found |= {kind: max(cosines)} if cosines else {}
    return found
