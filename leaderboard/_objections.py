"""Why a record cannot be ranked and shown: what is wrong with one stays out of the board, and spoils no other's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leaderboard._values import number

SCHEMA = 1
_NAMES = ("suite", "dataset", "victim", "defense")
_LONGEST = 2_000  # characters of a name
_OBJECTS = ("metrics", "environment")
_LISTS = ("flags", "cells", "threats", "failed", "shifts", "gallery", "parts")
_SHARES = ("robust_accuracy", "clean_accuracy")
_LARGEST = 2**63


def objection(record: Mapping[str, Any]) -> str:
    """Why a record cannot be ranked and shown; empty where it can."""
    return (
        setting_objection(record)
        or _id_objection(record.get("id"))
        or _parts_objection(record)
        or _inputs_objection(record.get("per_input"))
    )


def setting_objection(record: Mapping[str, Any]) -> str:
    """Why a record, or a line of its history, belongs to no board; empty where it does."""
    if record.get("schema") != SCHEMA:
        return f"schema {record.get('schema')!r} found, {SCHEMA} expected; run the grid again to write it anew"
    for name in _NAMES:
        if not isinstance(record.get(name), str) or not record[name]:
            return f"`{name}` must be a text, found {_short(record.get(name))}"
        if len(record[name]) > _LONGEST:
            return f"`{name}` must have at most {_LONGEST:,} characters, found {len(record[name]):,}"
    for name in ("size", "seed"):
        if not isinstance(record.get(name), str | int | None):
            return f"`{name}` must be a text or a number, found {_short(record[name])}"
    return _headline_objection(record.get("headline"))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _headline_objection(headline: Any) -> str:
    if not isinstance(headline, Mapping):
        return f"`headline` must be an object with norm, epsilon and knowledge, found {_short(headline)}"
    if not all(isinstance(headline.get(name), str) and headline[name].strip() for name in ("norm", "knowledge")):
        return f"`headline` must name norm and knowledge, found {_short(dict(headline))}"
    if number(headline.get("epsilon")) is None:
        return f"`headline.epsilon` must be a number, found {_short(headline.get('epsilon'))}"
    return ""


def _id_objection(found: Any) -> str:
    """An id is looked up, linked to and a file's name."""
    if found is None or (isinstance(found, str) and found.isprintable() and len(found) <= _LONGEST):
        return ""
    return f"`id` must be a text of printable characters, found {_short(found)}"


def _parts_objection(record: Mapping[str, Any]) -> str:
    for name in _OBJECTS:
        if not isinstance(record.get(name), Mapping | None):
            return f"`{name}` must be an object, found {_short(record[name])}"
    for name in _LISTS:
        found = record.get(name)
        if found is not None and not (isinstance(found, list) and all(isinstance(item, Mapping) for item in found)):
            return f"`{name}` must be a list of objects, found {_short(found)}"
    roles = record.get("roles")
    if roles is not None and not (isinstance(roles, list) and all(isinstance(role, str) for role in roles)):
        return f"`roles` must be a list of texts, found {_short(roles)}"
    for name, key in (("flags", "name"), ("cells", "attack")):
        for item in record.get(name) or []:
            if not isinstance(item.get(key), str):
                return f"`{name}` must each have a text `{key}`, found {_short(item.get(key))}"
    shares = {name: (record.get("metrics") or {}).get(name) for name in _SHARES}
    shares |= {f"threats[{i}]": item.get("robust_accuracy") for i, item in enumerate(record.get("threats") or [])}
    wrong = next(((name, value) for name, value in shares.items() if not _is_share(value)), None)
    if wrong:
        return f"`{wrong[0]}` must be a share from 0 to 1 with its interval, found {_short(wrong[1])}"
    return next(filter(None, map(_threat_objection, record.get("threats") or [])), "")


def _threat_objection(threat: Mapping[str, Any]) -> str:
    known = all(isinstance(threat.get(name), str) for name in ("norm", "knowledge"))
    if known and number(threat.get("epsilon")) is not None and isinstance(threat.get("robust_accuracy"), Mapping):
        return ""
    return f"`threats` must each have norm, knowledge, epsilon and robust_accuracy, found {_short(dict(threat))}"


def _is_share(value: Any) -> bool:
    """Whether it is a share with both ends of its interval; one that is unknown is none or NaN, and so are its ends."""
    if value is None:
        return True
    if not isinstance(value, Mapping):
        return False
    found = [value.get(name) for name in ("value", "low", "high")]
    if found[0] is None:
        return True
    return all(
        isinstance(each, int | float) and not isinstance(each, bool) and (0 <= each <= 1 or each != each)
        for each in found
    )


def _inputs_objection(per_input: Any) -> str:
    if per_input is None:
        return ""
    if not isinstance(per_input, Mapping):
        return f"`per_input` must be an object of columns, found {type(per_input).__name__}"
    index, robust, clean = (per_input.get(name, []) for name in ("index", "robust", "clean"))
    if not isinstance(index, list) or not isinstance(robust, list) or len(index) != len(robust):
        return "`per_input.index` and `per_input.robust` must be lists of one length"
    if not all(isinstance(value, int) and abs(value) < _LARGEST for value in index):
        return "`per_input.index` must hold whole numbers"
    if len(set(index)) < len(index):
        return "`per_input.index` must name each input once"
    if not all(_is_probability(value) for value in robust):
        return "`per_input.robust` must hold numbers from 0 to 1"
    if not isinstance(clean, list) or not all(value is None or _is_probability(value) for value in clean):
        return "`per_input.clean` must hold numbers from 0 to 1"
    return ""


def _is_probability(value: Any) -> bool:
    found = number(value)
    return found is not None and 0 <= found <= 1
