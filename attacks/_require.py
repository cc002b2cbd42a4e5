"""Checks of hyperparameters."""

from __future__ import annotations


def at_least_one(part: object, *names: str) -> None:
    """Raise ValueError for a parameter of `part` that is below 1; None is left to the part."""
    for name in names:
        value = getattr(part, name)
        if value is not None and value < 1:
            raise ValueError(f"{type(part).__name__} was given {name} = {value}; expected at least 1")
