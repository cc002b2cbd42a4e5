"""The page's tables of attacks, one a board: those of the headline's ball, and all others beneath."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leaderboard import _heat, _text
from leaderboard._markup import Markup, breakable, element, joined
from leaderboard._tables import sortable
from leaderboard.attacks import Line, Selftest, at_headline, lines
from leaderboard.rows import Board

_CAPTION = (
    "Every attack alone, over the systems of the table above. Success and missed are shares of the inputs that it was "
    "given and that were right when clean; missed are those that another attack broke, with the system where they are "
    "most. Only it: inputs that no other broke. Distances, passes and time are medians over systems; passes and time are "
    "those of a search over all epsilons of a norm. The last two are from harness selftest: the share found of neighbours "
    "known to exist, also where a detector is turned round, and how many defenses known to be broken fell."
)


@dataclass(frozen=True)
class _Column:
    """A column: its key, its title, what stands beneath, whether larger values come first, its value and its text."""

    key: str
    title: str
    unit: str
    descending: bool
    value: Callable[[Line], float | str | None]
    shown: Callable[[Line], str]


def _columns() -> list[_Column]:
    return [
        _Column("attack", "Attack", "", False, lambda line: line.attack.lower(), lambda line: breakable(line.attack)),
        _Column("threat", "Threat", "", False, _threat_key, lambda line: _text.threat(line.threat)),
        _Column("success", "Success", "%", True, lambda line: line.success, _success),
        _Column("missed", "Missed", "%", False, lambda line: line.missed, _missed),
        _Column("wins", "Only it", "inputs", True, lambda line: line.total("wins"), _wins),
        _Column("distance", "Distance", "median", False, *_middle("median_distance", _text.figure)),
        _Column("forwards", "Forwards", "per input", False, *_middle("forwards", _text.count)),
        _Column("backwards", "Backwards", "per input", False, *_middle("backwards", _text.count)),
        _Column("seconds", "Time", "a system", False, *_middle("seconds", _text.duration)),
        _Column("known", "Neighbours", "found, %", True, _known_key, _known),
        _Column(
            "fell", "Known broken", "fell", True, lambda line: line.selftest.fell if line.selftest else None, _fell
        ),
    ]


def _threat_key(line: Line) -> str:
    threat = line.threat
    return f"{threat.norm} {threat.epsilon:012.6f} {threat.knowledge}"


def _middle(
    name: str, text: Callable[[float | None], str]
) -> tuple[Callable[[Line], float | None], Callable[[Line], str]]:
    return lambda line: line.middle(name), lambda line: text(line.middle(name))


def _two(first: str, second: str) -> Markup:
    return joined([first, " ", element("span", second, class_="range") if second else None])


def _success(line: Line) -> str:
    broken, right = _text.whole(line.total("broken")), _text.whole(line.total("right"))
    return _two(_text.share(line.success), f"{broken} of {right}" if line.success is not None else "")


def _missed(line: Line) -> str:
    several = len(line.cells) > 1 and line.worst is not None
    return _two(_text.share(line.missed), f"at most {_text.share(line.worst)}" if several else "")


def _wins(line: Line) -> str:
    return _text.whole(line.total("wins"))


def _known_key(line: Line) -> float | None:
    found = line.selftest.share if line.selftest else None
    return found.value if found else None


def _known(line: Line) -> str:
    test = line.selftest
    if test is None:
        return _text.MISSING
    return _two(_text.percent(test.share), f"inverted {_text.percent(test.inverted)}" if test.inverted else "")


def _fell(line: Line) -> str:
    test = line.selftest
    return _text.MISSING if test is None or test.fell is None else f"{test.fell} of {test.known_broken}"


ORDERS = tuple(each.key for each in _columns())


def section(board: Board, place: int, selftests: Mapping[str, Selftest]) -> Markup | None:
    """The attacks on a board's systems; None where its records hold none."""
    found = lines(board, selftests)
    if not found:
        return None
    first = [line for line in found if at_headline(board, line)]
    rest = found[len(first) :]
    ball = _text.ball(board.headline.norm, board.headline.epsilon)
    tables = [_table(first, f"Attacks in {ball}") if first else None]
    if rest:
        other = f"Attacks in other balls ({len(rest)})"
        tables.append(element("details", element("summary", other), _table(rest, other)))
    tables.append(_heat.table(board, first))
    where = dict.fromkeys(line.selftest.where for line in found if line.selftest)
    words = f"{_CAPTION} It was made on {'; '.join(where)}." if where else _CAPTION
    heading = element("h2", f"Attacks on {board.dataset} · {board.victim} · {board.suite}")
    note = element("p", words, class_="note")
    return element("section", heading, *tables, note, class_="attacks", data_of=place, data_view="attacks")


def _table(found: Sequence[Line], title: str) -> Markup:
    columns = _columns()
    heads = [sortable(each.key, each.title, each.unit, descending=each.descending) for each in columns]
    head = element("thead", element("tr", joined(heads), role="row"), role="rowgroup")
    body = element("tbody", joined(_line(line, columns) for line in found), role="rowgroup")
    caption = element("caption", title, class_="unseen")
    return element(
        "div", element("table", caption, head, body, class_="small attacktable sortable", role="table"), class_="scroll"
    )


def _line(line: Line, columns: Sequence[_Column]) -> Markup:
    cells = []
    for column in columns:
        value = column.value(line)
        shared = {"role": "rowheader" if column.key == "attack" else "cell", "class_": column.key, "data_value": value}
        if column.key == "attack":
            cells.append(element("th", column.shown(line), scope="row", **shared))
        else:
            cells.append(element("td", column.shown(line), data_label=column.title, **shared))
    return element("tr", *cells, role="row")
