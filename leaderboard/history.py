"""How the figures of each system changed over time, and what is new since the board was built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import history as kept
from harness.tracked import identity
from harness.types import Interval
from leaderboard import _text
from leaderboard._objections import SCHEMA, setting_objection
from leaderboard._values import interval, mapping, mappings, number, plain, sequence
from leaderboard.choose import AXES, PREFIX, Filters, unknown
from leaderboard.rows import Board, Setting

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What the records of a system said from a time on; cause and changes: against the entry before, empty for the first."""

    created: str
    id: str
    commit: str
    dirty: bool
    code: str
    inputs: float | None
    status: str
    clean: Interval | None
    robust: Interval | None
    flags: Sequence[str]
    attacks: Sequence[str]
    cause: str = ""
    changes: Sequence[str] = ()


@dataclass(frozen=True)
class Past:
    """A system, its setting, and its entries, the oldest first."""

    defense: str
    setting: Setting
    entries: Sequence[Entry]


def history(folder: Path, records: Iterable[Record] = ()) -> list[Past]:
    """The systems of a folder of records; `records`: those that stand in it, older ones of a system too.

    Records that were made before a history was kept, and of which a file stands, count as well. A missing folder is empty.
    """
    lines: dict[str, list[Record]] = {}
    for path in sorted((folder / kept.FOLDER).glob("*.jsonl")):
        try:
            found = kept.read(path)
        except (OSError, ValueError):  # what is no history spoils no other's
            continue
        for line in found:
            if not setting_objection({**line, "schema": SCHEMA}):
                lines.setdefault(identity(line), []).append(line)
    for record in records:
        known = lines.setdefault(identity(record), [])
        line = kept.line(record)
        if not any(kept.same(other, line) for other in known):
            known.append(line)
    pasts = [_past(sorted(each, key=lambda line: plain(line.get("created")))) for each in lines.values()]
    return sorted(pasts, key=lambda past: (str(vars(past.setting)), past.defense))


def _past(lines: Sequence[Record]) -> Past:
    setting = Setting.of(lines[-1])
    assert setting is not None  # history() and collect() let nothing else pass
    entries: list[Entry] = []
    for before, line in zip([None, *lines[:-1]], lines, strict=True):
        if before is None or not kept.same(before, line):
            entries.append(_entry(line, before))
    return Past(plain(lines[-1].get("defense")), setting, entries)


def _entry(line: Record, before: Record | None) -> Entry:
    words = ("created", "id", "commit", "code", "status")
    flags, attacks = (tuple(map(plain, sequence(line.get(name)))) for name in ("flags", "attacks"))
    clean, robust = (interval(mapping(line.get(name))) for name in ("clean", "robust"))
    created, id_, commit, code, status = (plain(line.get(name)) for name in words)
    inputs, dirty = number(line.get("inputs")), line.get("dirty") is True
    entry = Entry(created, id_, commit, dirty, code, inputs, status, clean, robust, flags, attacks)
    if before is None:
        return entry
    last = _entry(before, None)
    return Entry(**{**vars(entry), "cause": _cause(last, entry), "changes": tuple(_changes(last, entry))})


def _cause(a: Entry, b: Entry) -> str:
    """What can have changed the figures, as far as the records tell."""
    if a.inputs != b.inputs:
        return "another number of inputs"
    if a.attacks != b.attacks and a.attacks and b.attacks:
        return "other attacks"
    if a.id != b.id:
        return "parts, attacks or their code (another id)"
    if a.code != b.code:
        return "the code that makes a record of outcomes"
    return "another commit, computed again" if a.commit != b.commit else "computed again"


def _changes(a: Entry, b: Entry) -> Iterable[str]:
    if a.status != b.status:
        yield f"{a.status or 'unknown'} → {b.status or 'unknown'}"
    if a.inputs != b.inputs:
        yield f"inputs {_text.whole(a.inputs)} → {_text.whole(b.inputs)}"
    yield from _moved("robust", a.robust, b.robust)
    yield from _moved("clean", a.clean, b.clean)
    yield from _names("flags", a.flags, b.flags)
    yield from _names("attacks", a.attacks, b.attacks)


def _moved(name: str, a: Interval | None, b: Interval | None) -> Iterable[str]:
    if _text.percent(a) != _text.percent(b):
        yield f"{name} {_text.percent(a)} → {_text.percent_interval(b)} %"


def _names(what: str, a: Sequence[str], b: Sequence[str]) -> Iterable[str]:
    signed = [f"+ {name}" for name in b if name not in a] + [f"− {name}" for name in a if name not in b]
    if signed:
        yield f"{what} {', '.join(signed)}"


_ALL = Filters()


def since(built: Any, boards: Sequence[Board], filters: Filters = _ALL) -> list[str]:
    """What changed since a board was written as JSON, a line for each system that is new, gone or different."""
    before = {
        key: system
        for board in mappings(built)
        for system in mappings(board.get("systems"))
        if (key := _key({**board, **system}, plain(system.get("defense")))) is not None and _of(key[0], filters)
    }
    lines, seen = [], set()
    for board in (each for each in boards if _of(each, filters)):
        for row in board.rows:
            key = _key(row.record, row.name)
            where = f"{row.name} ({board.title})"
            robust = row.metric("robust_accuracy")
            place, flags = (row.rank, row.tied), [flag.name for flag in row.fired if flag.warning]
            if key not in before:
                lines.append(f"+ {where}: new, rank {row.place}, robust {_text.percent_interval(robust)} %")
                continue
            seen.add(key)
            words = list(_differences(before[key], robust, place, flags))
            lines += [f"  {where}: {'; '.join(words)}"] * bool(words)
    gone = [system for key, system in before.items() if key not in seen]
    return lines + [f"− {plain(system.get('defense'))} ({plain(system.get('id'))[:8]}): gone" for system in gone]


def _differences(
    old: Record, robust: Interval | None, place: tuple[int | None, bool], flags: Sequence[str]
) -> Iterable[str]:
    before = interval(mapping(mapping(old.get("metrics")).get("robust_accuracy")))
    rank = number(old.get("rank"))
    if rank != place[0]:
        yield f"rank {_text.whole(rank)} → {_text.whole(place[0])}"
    yield from _moved("robust", before, robust)
    fired = [
        f for f in mappings(old.get("flags")) if f.get("fired") is True and f.get("severity", "warning") == "warning"
    ]
    yield from _names("flags", [plain(flag.get("name")) for flag in fired], flags)


def _key(record: Record, defense: str) -> tuple[Setting, str] | None:
    setting = Setting.of(record)
    return None if setting is None else (setting, defense)


def since_built(path: Path, boards: Sequence[Board], filters: Filters = _ALL) -> list[str] | None:
    """The same from the file `leaderboard.json` of a board; None where there is none. Raises ValueError if it is no JSON."""
    try:
        built = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); `leaderboard build` writes it anew") from error
    return since(built, boards, filters)


def chosen(pasts: Sequence[Past], filters: Filters, system: str | None) -> list[Past]:
    """The systems of the settings that are asked for, of that defense or with an id that begins so.

    Raises ValueError where there is no such system.
    """
    found = [
        past
        for past in pasts
        if _of(past.setting, filters) and (system is None or past.defense == system or _has_id(past, system))
    ]
    if system is not None and not found:
        raise ValueError(unknown(system, {past.defense for past in pasts}, "defense or id"))
    return found


def _of(setting: Setting, filters: Filters) -> bool:
    """Whether a setting is one that is asked for."""
    return all(getattr(filters, axis) in ("", getattr(setting, axis)) for axis in AXES)


def _has_id(past: Past, start: str) -> bool:
    return len(start) >= PREFIX and any(entry.id.startswith(start) for entry in past.entries)


def report(pasts: Sequence[Past], news: Sequence[str] | None, *, whole: bool) -> str:
    """The history in lines; whole: every entry, else what is new since the build and the last change of each system."""
    if whole:
        return "\n".join(line for past in pasts for line in _told(past, past.entries))
    changed = [line for past in pasts if len(past.entries) > 1 for line in _told(past, past.entries[-1:])]
    if news is None:
        lines = ["No board was built yet: `leaderboard build` writes the one that later changes are told against."]
    else:
        lines = ["Since the board was built:", *(news or ["  nothing changed"])]
    return "\n".join([*lines, "", "Last changes:", *(changed or ["  no system was ever recorded with other figures"])])


def _told(past: Past, entries: Sequence[Entry]) -> list[str]:
    setting = past.setting
    head = f"{past.defense} · {setting.dataset} · {setting.victim} · {_text.threat(setting.headline)}"
    return [
        f"{head} · suite {setting.suite} {setting.size}".rstrip(),
        *(line for entry in entries for line in _shown(entry)),
    ]


def _shown(entry: Entry) -> list[str]:
    commit = f"commit {entry.commit[:8]}{' with changes' if entry.dirty else ''}" if entry.commit else "commit unknown"
    facts = f"  {entry.created}  {entry.id}  {commit}, record code {entry.code[:8] or 'unknown'}"
    if entry.changes or entry.cause:
        return [facts, f"    {'; '.join(entry.changes) or 'other outcomes, the same figures'}", f"    by {entry.cause}"]
    attacks = f"{len(entry.attacks)} attack{'' if len(entry.attacks) == 1 else 's'}"
    figures = f"robust {_text.percent_interval(entry.robust)} %, clean {_text.percent_interval(entry.clean)} %"
    flags = f"flags {', '.join(entry.flags) or 'none'}"
    return [facts, f"    {figures}; {attacks}; {flags}; {_text.whole(entry.inputs)} inputs"]


def as_json(pasts: Sequence[Past]) -> list[dict[str, Any]]:
    """The history as JSON-able values."""
    return [
        {"defense": past.defense, **asdict(past.setting), "entries": [asdict(e) for e in past.entries]}
        for past in pasts
    ]
