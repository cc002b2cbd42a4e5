"""The page's tables of risks taken apart: one a board, and one beneath each system."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboard import _text
from leaderboard._interval import share
from leaderboard._markup import Markup, breakable, element, joined
from leaderboard.risks import CAUSES, EXPLANATION, RISKS, Line, lines, of_row
from leaderboard.rows import Board, Row

_KINDS = {"standard": "wrong", "normal": "attack0", "in_manifold": "attack1", "nearby_normal": "attack2"}
_SHOWN = 12


def section(board: Board, place: int) -> Markup | None:
    """The risks of a board's systems; None where no attack of its grid tells them apart."""
    found = lines(board)
    if not found:
        return None
    heading = element("h2", f"Where the adversarial risk comes from: {board.dataset} · {board.victim} · {board.suite}")
    table = element("div", _table(found, named=True), class_="scroll")
    return element(
        "section",
        heading,
        table,
        _key(),
        element("p", EXPLANATION, class_="note"),
        class_="attacks",
        data_of=place,
        data_view="risks",
    )


def detail(row: Row) -> Markup | None:
    """The same of one system, with the inputs behind each cause."""
    found = of_row(row)
    if not found:
        return None
    inputs = [_inputs(line) for line in found]
    return joined([_table(found, named=False), _key(), element("ul", joined(inputs), class_="fates")])


def _table(found: Sequence[Line], *, named: bool) -> Markup:
    shown = [name for name in RISKS if any(name in line.risks for line in found)]
    titles = [*(["Defense"] if named else []), "Budget", "Inputs", *(RISKS[name] for name in shown), "Causes"]
    heads = [
        element("th", title, scope="col", role="columnheader", class_="threat" if title == "Budget" else None)
        for title in titles
    ]
    head = element("tr", joined(heads), role="row")
    body = [_line(line, shown, titles, named=named) for line in found]
    return element(
        "table",
        element("caption", "Adversarial risk and what it is made of", class_="unseen"),
        element("thead", head, role="rowgroup"),
        element("tbody", joined(body), role="rowgroup"),
        class_="small attacktable risks",
        role="table",
    )


def _line(line: Line, shown: Sequence[str], titles: Sequence[str], *, named: bool) -> Markup:
    budget = f"{_text.ball(line.threat.norm, line.threat.epsilon)}, {line.threat.knowledge}"
    first = [breakable(line.row.name), budget] if named else [budget]
    texts = [*first, _text.whole(line.inputs), *(share(line.risks.get(name)) for name in shown), _bar(line)]
    name = element("th", texts[0], scope="row", role="rowheader", class_="attack" if named else None)
    cells = [
        element("td", text, role="cell", data_label=title, class_="threat" if title == "Budget" else None)
        for title, text in zip(titles[1:], texts[1:], strict=True)
    ]
    return element("tr", name, *cells, role="row")


def _bar(line: Line) -> Markup:
    """The causes as parts of a bar from 0 to 100 % of the inputs, the rest held."""
    parts, start = [], 0.0
    for cause, words in CAUSES.items():
        width = 100 * line.causes[cause].value if cause in line.causes else 0.0
        title = element("title", f"{words}: {width:.1f} %")
        kind = _KINDS.get(cause, "others")
        parts.append(
            element("rect", title, x=f"{start:.2f}%", width=f"{max(width, 0):.2f}%", y=0, height=14, class_=kind)
        )
        start += width
    words = "; ".join(
        f"{CAUSES[cause]} {_text.percent(found)} %" for cause, found in line.causes.items() if cause in CAUSES
    )
    return element("svg", *parts, width=180, height=14, role="img", aria_label=words, class_="shares")


def _key() -> Markup:
    """What the colours of the bars mean."""
    items = []
    for cause, words in CAUSES.items():
        square = element("rect", x=1, y=1, width=10, height=10, class_=_KINDS.get(cause, "others"))
        items.append(element("li", element("svg", square, width=12, height=12, aria_hidden="true"), words))
    return element("ul", joined(items), class_="fates")


def _inputs(line: Line) -> Markup:
    """The numbers of the test inputs lost for each cause but the first, at one threat."""
    words = []
    for cause, title in CAUSES.items():
        lost = line.lost(cause)
        if lost and cause != "standard":
            rest = f", … ({len(lost)})" if len(lost) > _SHOWN else ""
            words.append(f"{title}: {', '.join(map(str, lost[:_SHOWN]))}{rest}")
    budget = _text.ball(line.threat.norm, line.threat.epsilon)
    return element("li", element("span", element("b", budget), f" inputs {'; '.join(words) or 'none'}"))
