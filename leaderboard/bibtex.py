"""The sources of what boards compare: entries of `references.bib` by the parts that they are the source of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from leaderboard._values import mapping, mappings, plain, sequence
from leaderboard.rows import Board, Row

FILE = Path(__file__).with_name("references.bib")
ALWAYS = ("judging", "software")
_NESTED = ("attack", "manifold", "victim", "dataset", "defense")  # kinds that a part's parameters may name


@dataclass(frozen=True)
class Entry:
    """An entry of a BibTeX file: @kind{key, fields}."""

    kind: str
    key: str
    fields: Mapping[str, str]

    @property
    def sources(self) -> list[str]:
        """What it is the source of: KIND/NAME of parts, and words such as `judging`."""
        return [word.strip() for word in self.fields.get("keywords", "").split(",") if word.strip()]

    def __str__(self) -> str:
        shown = {name: value for name, value in self.fields.items() if name != "keywords"}
        width = max(map(len, shown), default=0)
        lines = [f"  {name:<{width}} = {{{value}}}," for name, value in shown.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def parse(text: str) -> list[Entry]:
    """The entries of a BibTeX text whose values stand in braces; raises ValueError with the line of what is malformed."""
    found: list[Entry] = []
    place = 0
    text = re.sub(r"^\s*%.*$", "", text, flags=re.MULTILINE)
    while (start := text.find("@", place)) >= 0:
        head = re.compile(r"@(\w+)\s*\{\s*([^\s,{}]+)\s*,").match(text, start)
        if head is None:
            raise ValueError(f"line {_line(text, start)}: an entry begins @kind{{key,")
        fields, place = _fields(text, head.end())
        found.append(Entry(head[1].lower(), head[2], fields))
    return found


def _fields(text: str, place: int) -> tuple[dict[str, str], int]:
    """The fields of an entry from a place on, and the place after its closing brace."""
    fields: dict[str, str] = {}
    while True:
        name = re.compile(r"\s*(?:(\})|([\w-]+)\s*=\s*\{)").match(text, place)
        if name is None:
            raise ValueError(f"line {_line(text, place)}: a field is written name = {{value}}, an entry ends with }}")
        if name[1]:
            return fields, name.end()
        end = _closing(text, name.end())
        if name[2].lower() in fields:
            raise ValueError(f"line {_line(text, place)}: the field {name[2]} stands twice")
        fields[name[2].lower()] = " ".join(text[name.end() : end].split())
        place = end + 1
        comma = re.compile(r"\s*,").match(text, place)
        place = comma.end() if comma else place


def _closing(text: str, place: int) -> int:
    """Where the brace that stands open closes."""
    depth = 1
    for found in re.compile(r"[{}]").finditer(text, place):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.start()
    raise ValueError(f"line {_line(text, place)}: a brace is not closed")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


@lru_cache(maxsize=1)
def references() -> tuple[Entry, ...]:
    """The entries that ship."""
    return tuple(parse(FILE.read_text(encoding="utf-8")))


def ours() -> set[str]:
    """The parts without a paper of their own, from the lines `% ours:` of the file that ships."""
    lines = re.findall(r"^% ours:(.*)$", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name.strip() for line in lines for name in line.split(",")}


def bibtex(boards: Sequence[Board]) -> str:
    """The entries of everything that some boards show, in the order of the file; submissions with a paper last."""
    rows = [row for board in boards for row in board.rows]
    names = {*ALWAYS, *(name for row in rows for name in parts(row))}
    found = [*_of(names), *submissions(rows).values()]
    return "\n\n".join(map(str, found)) + "\n"


def _of(names: Iterable[str]) -> list[Entry]:
    wanted = set(names)
    return [entry for entry in references() if wanted.intersection(entry.sources)]


def keys(row: Row, told: Mapping[str, Entry]) -> list[str]:
    """The keys to cite for a row's defense; told: submissions by the id of their record."""
    own = told.get(plain(row.record.get("id")))
    return [*([own.key] if own else []), *(entry.key for entry in _of(_defenses(row)))]


def parts(row: Row) -> set[str]:
    """KIND/NAME of everything behind a row: data set, victim, defenses, attacks, what these name, metrics, flags, shifts."""
    record = row.record
    labels = {"dataset": plain(record.get("dataset")), "victim": plain(record.get("victim"))}
    found = {f"{kind}/{head}" for kind, label in labels.items() if (head := _head(label))}
    attacks = [plain(cell.get("attack")) for cell in mappings(record.get("cells"))]
    found |= {f"attack/{_head(label)}" for label in attacks}
    parameters = [value for part in mappings(record.get("parts")) for value in _texts(mapping(part.get("parameters")))]
    for label in [*labels.values(), *attacks]:
        parameters.append(label.partition("(")[2])
    found |= {f"{kind}/{name}" for text in parameters for name in _words(text) for kind in _NESTED}
    found |= {f"metric/{plain(name)}" for name in mapping(record.get("metrics"))}
    found |= {f"flag/{flag.name}" for flag in row.flags}
    found |= {f"shift/{_head(plain(shift.get('name')))}" for shift in mappings(record.get("shifts"))}
    found |= {f"measure/{_head(plain(m.get('name')))}" for m in mappings(record.get("measures"))}
    return found | _defenses(row)


def _defenses(row: Row) -> set[str]:
    names = [plain(part.get("name")) for part in mappings(row.record.get("parts"))]
    return {f"defense/{_head(name)}" for name in names or row.name.split(" + ")}


def _head(label: str) -> str:
    """The name of a part without its parameters and the member of its family: pgd of pgd(steps=40), timm of timm/vit."""
    return re.split(r"[(/:]", label, maxsplit=1)[0].strip()


def _words(text: str) -> Iterator[str]:
    """What may be the name of a part in a parameter: words that are not the name of a parameter themselves."""
    for found in re.finditer(r"[A-Za-z_]\w*(?!\w)(?!\s*=)", text):
        yield found[0]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a parameter."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    else:
        for item in sequence(value):
            yield from _texts(item)


def submissions(rows: Iterable[Row]) -> dict[str, Entry]:
    """An entry for each submission that names a paper, by the id of its record."""
    found: dict[str, Entry] = {}
    for row in rows:
        told = mapping(row.record.get("submission"))
        paper, id_ = plain(told.get("paper")), plain(row.record.get("id"))
        if paper and id_ not in found:
            title = plain(told.get("name")) or row.name
            slug = re.sub(r"[^a-z0-9]+", "", title.lower())[:24]
            found[id_] = Entry("misc", f"{slug or 'submission'}-{id_[:8]}", _told(title, told, paper))
    return found


def _told(title: str, told: Mapping[str, Any], paper: str) -> dict[str, str]:
    authors = told.get("authors")
    people = [plain(author) for author in (authors if isinstance(authors, list) else [authors]) if plain(author)]
    fields = {
        "author": " and ".join(f"{{{escaped(person)}}}" if "," in person else escaped(person) for person in people)
    }
    fields |= {"title": f"{{{escaped(title)}}}", "note": "submitted to the leaderboard"}
    if re.match(r"https?://\S+$", paper):
        fields["url"] = re.sub(r"[{}\\]", lambda found: f"%{ord(found[0]):02X}", paper)
    else:
        fields["howpublished"] = escaped(paper)
    return {name: value for name, value in fields.items() if value}


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "{": r"\textbraceleft{}",  # BibTeX counts braces, those after a backslash too
    "}": r"\textbraceright{}",
    **{character: f"\\{character}" for character in "$&#_%"},
}


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_SPECIAL.get(character, character) for character in text)
