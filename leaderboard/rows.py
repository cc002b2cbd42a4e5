"""Boards and their rows: records in groups that can be compared, ranked, as values that every rendering shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from harness.types import Interval, Threat
from leaderboard import _text
from leaderboard._values import interval, mapping, mappings, number, plain, sequence

_OTHER_THREATS = 3
_REJECTING = (
    ("strict_accuracy", "Strict", "%"),
    ("noise_acceptance", "Noise", "% accepted"),
    ("availability", "Available", "%"),
)


@dataclass(frozen=True)
class Flag:
    """A rule about a system's number; fired is None where it was not evaluated."""

    name: str
    fired: bool | None
    text: str
    warning: bool
    value: float | None
    evidence: Mapping[str, Any]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Flag:
        """A flag from its JSON object."""
        fired = record.get("fired")
        return cls(
            plain(record.get("name")) or "unnamed",
            fired if isinstance(fired, bool) else None,
            plain(record.get("text")),
            record.get("severity", "warning") == "warning",
            number(record.get("value")),
            mapping(record.get("evidence")),
        )

    @property
    def word(self) -> str:
        """The name, in parentheses where the flag only describes."""
        return self.name if self.warning else f"({self.name})"


@dataclass(frozen=True)
class Row:
    """A system on a board; rank is None where it has no robust accuracy, mostly because tasks failed."""

    rank: int | None
    tied: bool
    flagged: bool
    record: Mapping[str, Any]

    @property
    def place(self) -> str:
        """The rank as it is shown: 1, =2 for a tie, – without one."""
        return _text.MISSING if self.rank is None else f"{'=' if self.tied else ''}{self.rank}"

    @property
    def name(self) -> str:
        """The defense."""
        return plain(self.record.get("defense")) or "unnamed"

    @property
    def author(self) -> str:
        """Under what name it was submitted, and by whom; empty for a shipped defense."""
        submission = mapping(self.record.get("submission"))
        authors = submission.get("authors")
        people = ", ".join(map(plain, sequence(authors))) if isinstance(authors, list) else plain(authors)
        return " ".join(filter(None, (plain(submission.get("name")), f"by {people}" if people else "")))

    @property
    def claims(self) -> dict[str, float]:
        """What its author expects, in shares: clean_accuracy, robust_accuracy; empty where nothing was claimed."""
        claimed = mapping(mapping(self.record.get("submission")).get("claimed"))
        found = {name: number(claimed.get(name)) for name in ("clean_accuracy", "robust_accuracy")}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def isolation(self) -> str:
        """Where a submission's code ran: bubblewrap, process, or none: with the judge; empty for a shipped defense."""
        return plain(mapping(self.record.get("submission")).get("isolation"))

    @property
    def contradicted(self) -> bool:
        """Whether the claimed robust accuracy lies outside the interval of the measured one."""
        claim, robust = self.claims.get("robust_accuracy"), self.metric("robust_accuracy")
        return claim is not None and robust is not None and not robust.low <= claim <= robust.high

    @property
    def roles(self) -> list[str]:
        """What the defense's parts do: purifier, detector, training; none for the bare victim."""
        return [plain(role) for role in sequence(self.record.get("roles"))] or ["none"]

    @property
    def track(self) -> str:
        """plain, detector, random, or optimising at inference."""
        return plain(self.record.get("track"))

    @property
    def origin(self) -> str:
        """reference: a result that ships with the package; own: of this run folder."""
        return "reference" if self.record.get("reference") else "own"

    def metric(self, name: str) -> Interval | None:
        """A metric with its interval."""
        return interval(mapping(self.record.get("metrics")).get(name))

    def cost(self, name: str) -> float | None:
        """seconds, forwards (an input) or parameters."""
        return number(self.record.get(name))

    @cached_property
    def threats(self) -> dict[Threat, Interval]:
        """Robust accuracy at every threat of the grid."""
        found: dict[Threat, Interval] = {}
        for item in mappings(self.record.get("threats")):
            threat, value = threat_of(item), interval(item.get("robust_accuracy"))
            if threat is not None and value is not None:
                found[threat] = value
        return found

    @cached_property
    def flags(self) -> list[Flag]:
        """Every flag, fired or not."""
        return [Flag.of(item) for item in mappings(self.record.get("flags"))]

    @property
    def fired(self) -> list[Flag]:
        """Flags that fired, those that speak against the number first."""
        return sorted((flag for flag in self.flags if flag.fired), key=lambda flag: not flag.warning)

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Tasks that failed."""
        return mappings(self.record.get("failed"))

    @property
    def remarks(self) -> str:
        """Fired flags and failures in words, for tables of text."""
        words = [flag.word for flag in self.fired]
        if self.failed:
            words.append(f"{len(self.failed)} failed task{'s' if len(self.failed) > 1 else ''}")
        return ", ".join(words)


@dataclass(frozen=True)
class Setting:
    """What systems must share to be compared."""

    suite: str
    size: str
    dataset: str
    victim: str
    headline: Threat
    seed: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Setting | None:
        """A record's setting; None without a headline threat."""
        threat, seed = threat_of(record.get("headline")), record.get("seed")
        suite, size, dataset, victim = (plain(record.get(name)) for name in ("suite", "size", "dataset", "victim"))
        if threat is None:
            return None
        return cls(suite, size, dataset, victim, threat, "" if seed is None else str(seed))


@dataclass(frozen=True)
class Board(Setting):
    """Systems of one setting, ranked; superseded where a newer version of the suite has records."""

    rows: Sequence[Row]
    superseded: bool

    @property
    def title(self) -> str:
        """Data set, victim and headline threat."""
        return f"{self.dataset} · {self.victim} · {_text.threat(self.headline)}"

    @property
    def shipped(self) -> bool:
        """Whether all of it are references."""
        return all(row.origin == "reference" for row in self.rows)

    @property
    def inputs(self) -> float | None:
        """The number of test inputs, where all systems agree about it."""
        found = {number(row.record.get("inputs")) for row in self.rows}
        return found.pop() if len(found) == 1 else None

    @property
    def notes(self) -> list[str]:
        """What data set and grid say about themselves, each once."""
        texts = (plain(row.record.get(name)) for row in self.rows for name in ("dataset_note", "note"))
        return list(dict.fromkeys(filter(None, texts)))

    @property
    def created(self) -> str:
        """The day of the newest record."""
        return max((plain(row.record.get("created"))[:10] for row in self.rows), default="")

    @property
    def provenance(self) -> str:
        """Suite, size, number of inputs, seed and day in a line."""
        inputs = f"{_text.whole(self.inputs)} test inputs" if self.inputs else ""
        named = [f"{name} {value}" for name, value in (("suite", self.suite), ("size", self.size)) if value]
        seed = f"seed {self.seed}" if self.seed else ""
        return " · ".join(filter(None, (*named, inputs, seed, self.created)))

    @cached_property
    def rejecting(self) -> list[tuple[str, str, str]]:
        """What stands beside the robustness of systems that reject, where there are any: metric, title and unit."""
        return [line for line in _REJECTING if any(row.metric(line[0]) for row in self.rows)]

    @cached_property
    def beside(self) -> list[Threat]:
        """Up to three threats to show beside the headline: its ball with other knowledge, other norms, the rest."""
        found = list(dict.fromkeys(threat for row in self.rows for threat in row.threats if threat != self.headline))
        head = self.headline

        def distance(threat: Threat) -> tuple[bool, bool, bool]:
            same_ball = (threat.norm, threat.epsilon) == (head.norm, head.epsilon)
            return not same_ball, threat.norm == head.norm, threat.knowledge != head.knowledge

        return sorted(found, key=distance)[:_OTHER_THREATS]


def threat_of(value: Any) -> Threat | None:
    """A threat from its JSON object, or None."""
    fields = mapping(value)
    norm, knowledge, epsilon = plain(fields.get("norm")), plain(fields.get("knowledge")), number(fields.get("epsilon"))
    return (
        None if epsilon is None or not norm or not knowledge else Threat(cast(Any, norm), epsilon, cast(Any, knowledge))
    )


def boards(records: Iterable[Mapping[str, Any]]) -> list[Board]:
    """Records on their boards: own before shipped, official grids first, the newest before others, superseded suites last."""
    groups: dict[Setting, list[Mapping[str, Any]]] = {}
    for record in records:
        setting = Setting.of(record)
        if setting is not None:
            groups.setdefault(setting, []).append(record)
    newest = _newest(setting.suite for setting in groups)
    found = [
        Board(**vars(setting), rows=rows(members), superseded=_superseded(setting.suite, newest))
        for setting, members in groups.items()
    ]
    found.sort(key=lambda board: (board.dataset, board.victim, board.headline.norm, board.headline.epsilon))
    found.sort(key=lambda board: board.created, reverse=True)
    return sorted(found, key=lambda board: (board.superseded, board.shipped, not _official(board)))


def rows(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Ranked rows of one board; systems without a robust accuracy come last, without a rank."""
    from harness.rank import ranked

    scored: list[Mapping[str, Any]] = []
    missing: list[Mapping[str, Any]] = []
    for record in records:
        known = interval(mapping(record.get("metrics")).get("robust_accuracy")) is not None
        (scored if known else missing).append(record)
    missing.sort(key=lambda record: plain(record.get("defense")))
    placed = [Row(place.rank, place.tied, place.flagged, place.record) for place in ranked(scored)]
    return placed + [Row(None, False, False, record) for record in missing]


def _official(board: Board) -> bool:
    return board.size == "official" and any(plain(row.record.get("grid")).startswith("official") for row in board.rows)


def _version(suite: str) -> tuple[str, int]:
    """fashion-2 is version 2 of fashion."""
    found = re.fullmatch(r"(.*?)-?(\d{1,9})", suite)
    return (found[1], int(found[2])) if found else (suite, 0)


def _newest(suites: Iterable[str]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for name, version in map(_version, suites):
        newest[name] = max(version, newest.get(name, 0))
    return newest


def _superseded(suite: str, newest: Mapping[str, int]) -> bool:
    name, version = _version(suite)
    return version < newest[name]
