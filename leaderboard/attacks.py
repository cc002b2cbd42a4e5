"""Attacks on the systems of a board: what each broke, what it left to others, what it cost, and how its own test went."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from harness.types import Interval, Threat
from leaderboard._values import interval, mapping, mappings, number, plain
from leaderboard.rows import Board, threat_of

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Selftest:
    """What `harness selftest` found of an attack: shares of neighbours known to exist, known-broken defenses that fell."""

    share: Interval | None
    inverted: Interval | None
    fell: int | None
    known_broken: int
    passed: bool
    where: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Selftest:
        """A test from its JSON object."""
        rows = [row for row in mappings(answer.get("broken")) if row.get("defense") != "none"]
        fell = sum(row.get("passed") is True for row in rows) if rows else None
        where = ", ".join(filter(None, (plain(answer.get(name)) for name in ("dataset", "victim"))))
        share, inverted = (interval(mapping(answer.get(name))) for name in ("binarisation", "inverted"))
        return cls(share, inverted, fell, len(rows), answer.get("passed") is True, where)


@dataclass(frozen=True)
class Line:
    """An attack under a threat, over the systems of a board that it was tried on."""

    attack: str
    threat: Threat
    cells: Sequence[Cell] = field(repr=False)
    selftest: Selftest | None = None

    def total(self, name: str) -> float | None:
        """A count summed over the systems that know it: right, broken, missed or wins; None where none does."""
        known = [value for value in (number(cell.get(name)) for cell in self._compared) if value is not None]
        return sum(known) if known else None

    @property
    def _compared(self) -> Sequence[Cell]:
        """The systems whose records compare attacks, all of them else."""
        return [cell for cell in self.cells if number(cell.get("right")) is not None] or self.cells

    @property
    def success(self) -> float | None:
        """Share of the inputs it was given, right when clean, that it broke."""
        return _share(self.total("broken"), self.total("right"))

    @property
    def missed(self) -> float | None:
        """Share of them that another attack broke and it did not."""
        return _share(self.total("missed"), self.total("right"))

    @property
    def worst(self) -> float | None:
        """That share on the system where it is largest."""
        shares = [_share(number(cell.get("missed")), number(cell.get("right"))) for cell in self.cells]
        return max((share for share in shares if share is not None), default=None)

    def middle(self, name: str) -> float | None:
        """The median of a figure over the systems."""
        known = [value for value in (number(cell.get(name)) for cell in self.cells) if value is not None]
        return median(known) if known else None


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def lines(board: Board, selftests: Mapping[str, Selftest]) -> list[Line]:
    """A line for each attack and threat: the headline's first, then its norm, then the others; the strongest first."""
    found: dict[tuple[str, Threat], list[Cell]] = {}
    for row in board.rows:
        for cell in mappings(row.record.get("cells")):
            threat, attack = threat_of(cell), plain(cell.get("attack")) or "unnamed"
            if threat is not None:
                found.setdefault((attack, threat), []).append(cell)
    made = [Line(attack, threat, cells, selftests.get(attack)) for (attack, threat), cells in found.items()]
    head = board.headline

    def order(line: Line) -> tuple[Any, ...]:
        threat, success = line.threat, line.success
        there = threat.norm != head.norm, threat.norm, threat.epsilon != head.epsilon, -threat.epsilon
        return *there, threat.knowledge != head.knowledge, -1 if success is None else -success, line.attack

    return sorted(made, key=order)


def at_headline(board: Board, line: Line) -> bool:
    """Whether an attack had the headline's ball, whatever the attacker knew."""
    return (line.threat.norm, line.threat.epsilon) == (board.headline.norm, board.headline.epsilon)


def selftests(folder: Path) -> dict[str, Selftest]:
    """The tests kept in a folder, by the attack's label; what cannot be read is left out."""
    found: dict[str, Selftest] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            answer = mapping(json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError):
            continue
        if plain(answer.get("attack")):
            found[plain(answer.get("attack"))] = Selftest.of(answer)
    return found
