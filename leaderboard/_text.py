"""Numbers and threats in words, with their units; shared by every rendering."""

from __future__ import annotations

import math

from harness.types import Interval, Threat
from leaderboard._values import bounded

MISSING = "–"
THIN = "\u2009"
_NORMS = {"linf": "ℓ∞", "l2": "ℓ2", "l1": "ℓ1", "l0": "ℓ0"}


def percent(value: Interval | None) -> str:
    """A share in per cent, without its interval: 55.9."""
    return MISSING if value is None else f"{100 * value.value:.1f}"


def share(value: float | None) -> str:
    """A bare share in per cent: 55.9."""
    return MISSING if value is None else f"{100 * value:.1f}"


def percent_range(value: Interval | None) -> str:
    """The 95 % interval of a share, in per cent: 52.8–58.9; empty where it is unknown."""
    return f"{100 * value.low:.1f}–{100 * value.high:.1f}" if value is not None and bounded(value) else ""


def percent_interval(value: Interval | None) -> str:
    """A share in per cent with its interval: 55.9 (52.8–58.9)."""
    ends = percent_range(value)
    return f"{percent(value)} ({ends})" if ends else percent(value)


def area(value: Interval | None) -> str:
    """An area under a curve with its interval: .931 (.918–.943)."""
    if value is None:
        return MISSING
    ends = f" ({_decimals(value.low)}–{_decimals(value.high)})" if bounded(value) else ""
    return _decimals(value.value) + ends


def _decimals(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def size(epsilon: float) -> str:
    """The size of a perturbation: 0.1, or 8/255 for a number of grey levels that is long as a decimal."""
    decimal, levels = f"{epsilon:g}", epsilon * 255
    grey = len(decimal) > 5 and 0.5 < levels < 64.5 and abs(levels - round(levels)) < 1e-6
    return f"{round(levels)}/255" if grey else decimal


def norm(name: str) -> str:
    """The norm as it is written: ℓ∞."""
    return _NORMS.get(name, name)


def ball(name: str, epsilon: float) -> str:
    """What may be changed: ℓ∞ 0.1, or patch 5×5 px."""
    return f"{norm(name)} {epsilon:g}×{epsilon:g} px" if name == "patch" else f"{norm(name)} {size(epsilon)}"


def axis(name: str) -> str:
    """What epsilon means in a norm, as the title of an axis."""
    if name == "patch":
        return "side of the patch, pixels"
    return f"size of the perturbation ε in {norm(name)}, inputs in [0, 1]"


def threat(value: Threat) -> str:
    """A threat in a few words: ℓ∞ 0.1, adaptive."""
    return f"{ball(value.norm, value.epsilon)}, {value.knowledge}"


def count(value: float | None) -> str:
    """A number of things in three digits: 1.23 M."""
    if value is None:
        return MISSING
    for power, letter in ((9, " G"), (6, " M"), (3, " k")):
        scaled = value / 10**power
        if abs(scaled) >= 0.9995:
            return f"{scaled:.3g}{letter}" if abs(scaled) < 999.5 else f"{scaled:.0f}{letter}"
    return f"{value:.3g}"


def whole(value: float | None) -> str:
    """A whole number with its thousands apart: 1,000."""
    return MISSING if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """A time: 0.31 s, 12 s, 4 min 5 s, 2 h 10 min."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def figure(value: float | None) -> str:
    """A measured number in three digits."""
    return MISSING if value is None else f"{value:.3g}"
