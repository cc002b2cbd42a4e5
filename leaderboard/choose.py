"""What a reader asks for: some boards, some of their rows, one system, two that can be compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from leaderboard._values import plain
from leaderboard.rows import Board, Row

Record = Mapping[str, Any]

_LISTED = 12
PREFIX = 4  # characters of an id that may stand for it


@dataclass(frozen=True)
class Filters:
    """Which boards and rows to show; an empty text asks for nothing.

    defense: a part of the name, in any case; flags: None, "" for any flag that speaks against the number, or its name; top:
    rows of each board.
    """

    suite: str = ""
    dataset: str = ""
    victim: str = ""
    size: str = ""
    defense: str = ""
    flags: str | None = None
    unflagged: bool = False
    claims: bool = False
    top: int | None = None

    @property
    def words(self) -> str:
        """What is asked for, in words."""
        named = [f"{name} {value}" for name in AXES if (value := getattr(self, name))]
        named += [f"defense with '{self.defense}'"] * bool(self.defense)
        named += [f"flag {self.flags}" if self.flags else "a flag"] * (self.flags is not None)
        return ", ".join(named + ["no flag"] * self.unflagged + ["a claim"] * self.claims)


AXES = ("suite", "dataset", "victim", "size")


def chosen(boards: Sequence[Board], filters: Filters) -> list[Board]:
    """The boards and rows that are asked for, ranks as they are among all; raises ValueError for what does not exist."""
    if filters.flags is not None and filters.unflagged:
        raise ValueError(
            "either systems with a flag or systems without one, not both: leave --flags or --unflagged out"
        )
    if filters.top is not None and filters.top < 1:
        raise ValueError(f"--top is a number of rows, 1 or more, not {filters.top}")
    if not boards:
        return []
    found = list(boards)
    for name in AXES:
        value = getattr(filters, name)
        if value:
            _require(value, {getattr(board, name) for board in boards}, name)
            found = [board for board in found if getattr(board, name) == value]
    _require_rows(boards, filters)
    kept = [(board, [row for row in board.rows if _wanted(row, filters)]) for board in found]
    result = [replace(board, rows=rows[: filters.top]) for board, rows in kept if rows]
    if not result and filters != Filters(top=filters.top):
        raise ValueError(f"no system has all of this: {filters.words}")
    return result


def kept(records: Sequence[Record], filters: Filters) -> list[Record]:
    """The records of the suite, data set, victim and size that are asked for; raises ValueError for what does not exist."""
    found = list(records)
    for name in AXES:
        value = getattr(filters, name)
        if value and records:
            _require(value, {plain(record.get(name)) for record in records}, name)
            found = [record for record in found if plain(record.get(name)) == value]
    return found


def _wanted(row: Row, filters: Filters) -> bool:
    warned = {flag.name for flag in row.fired if flag.warning}
    return (
        filters.defense.casefold() in row.name.casefold()
        and (filters.flags is None or bool(warned) if not filters.flags else filters.flags in warned)
        and not (filters.unflagged and warned)
        and (bool(row.claims) or not filters.claims)
    )


def _require_rows(boards: Sequence[Board], filters: Filters) -> None:
    """That some row has the defense and the flag."""
    names = {row.name for board in boards for row in board.rows} if filters.defense else set()
    if filters.defense and not any(filters.defense.casefold() in name.casefold() for name in names):
        raise ValueError(unknown(filters.defense, names, "defense"))
    if filters.flags:
        _require(filters.flags, {flag.name for board in boards for row in board.rows for flag in row.flags}, "flag")


def _require(value: str, known: Iterable[str], what: str) -> None:
    names = set(known)
    if value not in names:
        raise ValueError(unknown(value, names, what.replace("dataset", "data set")))


def unknown(given: str, known: Iterable[str], what: str) -> str:
    """The message for a value that no record has: the nearest ones and, of many, the first."""
    names = sorted(name for name in known if name)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    rest = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"no record has the {what} '{given}': {hint}known: {', '.join(names[:_LISTED]) or 'none'}{rest}"


def systems(records: Sequence[Record], text: str) -> list[Record]:
    """The records of a defense by its name, or of an id by its first characters; raises ValueError if there is none."""
    named = [record for record in records if plain(record.get("defense")) == text]
    if not named:  # a file's class alone
        named = [record for record in records if plain(record.get("defense")).endswith(f".py:{text}")]
    if not named and len(text) >= PREFIX:
        named = [record for record in records if plain(record.get("id")).startswith(text)]
    if not named:
        raise ValueError(
            f"{unknown(text, {plain(record.get('defense')) for record in records}, 'defense')}; "
            f"the first {PREFIX} or more characters of an id do as well"
        )
    return named


def pair(records: Sequence[Record], a: str, b: str) -> tuple[Record, Record]:
    """The two records that are meant, own ones before those that ship.

    Raises ValueError where two names may mean several, or cannot be compared.
    """
    from leaderboard.compare import difference_of_settings

    first, second = systems(records, a), systems(records, b)
    pairs = [(x, y) for x, y in product(first, second) if x is not y]
    if not pairs:
        raise ValueError(f"'{a}' and '{b}' are the same system; name another one")
    reasons = [difference_of_settings(x, y) for x, y in pairs]
    fitting = [both for both, reason in zip(pairs, reasons, strict=True) if not reason]
    if not fitting:
        nearest = min(reasons, key=lambda reason: reason.count(","))
        raise ValueError(f"'{a}' and '{b}' cannot be compared: {nearest}")
    shipped = [sum(bool(record.get("reference")) for record in both) for both in fitting]
    fitting = [both for both, number in zip(fitting, shipped, strict=True) if number == min(shipped)]
    if len(fitting) == 1:
        return fitting[0]
    found = {id(record): record for both in fitting for record in both}
    raise ValueError(
        f"'{a}' and '{b}' may mean several systems; name them by id, or say --suite, --dataset, --victim or --size:\n"
        + candidates(list(found.values()))
    )


def candidates(records: Sequence[Record]) -> str:
    """A line for each record: id, defense and setting; of many, the first."""
    names = ("dataset", "victim", "suite", "size")
    lines = []
    for record in records[:_LISTED]:
        setting = [plain(record.get(name)) for name in names] + [f"seed {plain(record.get('seed'))}"]
        lines.append(
            f"  {plain(record.get('id'))}  {plain(record.get('defense'))}  ({', '.join(filter(None, setting))})"
        )
    rest = len(records) - _LISTED
    return "\n".join([*lines, *([f"  and {rest:,} more"] if rest > 0 else [])])
