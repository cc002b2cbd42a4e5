"""Boards as Markdown tables, for a terminal, a README and MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from leaderboard import _text, risks
from leaderboard.attacks import Line, Selftest, at_headline, lines
from leaderboard.risks import CAUSES, EXPLANATION, RISKS
from leaderboard.rows import Board, Row

_LEGEND = """\
Robust: right and accepted when clean, and never wrong and accepted under any attack of the threat; worst case per
input, in % with its 95 % interval. Equal ranks (=) are not told apart by a paired test. Flags in parentheses only
describe."""
REFERENCE = "°"
REFERENCES = "° a result that ships with the package; a run of one's own takes its place"
_ATTACKS = """\
Attacks alone, in the headline's ball: success and missed in % of the inputs that each was given and that were right when
clean; missed are those that another attack broke; wins are inputs that no other broke; distances, passes and time are
medians over systems; known neighbours is the share found in `harness selftest`, in parentheses that of its inverted form."""


def markdown(boards: Sequence[Board], selftests: Mapping[str, Selftest] | None = None) -> str:
    """All boards, one table each, and the attacks on them."""
    sections = ["# Leaderboard", *map(section, boards)]
    if not boards:
        sections.append("No systems yet: `harness run quick` evaluates the first ones.")
    else:
        sections.append(_LEGEND)
    attacks = attack_sections(boards, selftests or {})
    if attacks:
        sections += ["# Attacks", *attacks, _ATTACKS]
    decomposed = risk_sections(boards)
    if decomposed:
        sections += ["# Where the adversarial risk comes from", *decomposed, EXPLANATION]
    return "\n\n".join(sections) + "\n"


def section(board: Board) -> str:
    """One board: its title, where it comes from, its table."""
    lines = [f"## {escaped(board.title)}", "", escaped(board.provenance)]
    if board.superseded:
        lines[-1] += " · an earlier suite, not to be compared with the newer one"
    lines += [line for note in board.notes for line in ("", f"Note: {escaped(note)}")]
    return "\n".join([*lines, "", table(board), *_found(board), *(["", f"{REFERENCES}."] if shipped(board) else [])])


def shipped(board: Board) -> bool:
    """Whether some results of a board ship with the package."""
    return any(row.origin == "reference" for row in board.rows)


def _found(board: Board) -> list[str]:
    """The flags that fired, with what they found, a line for each."""
    lines = [escaped(f"{row.name}: {flag.word}: {flag.text}") for row in board.rows for flag in row.fired]
    return ["", *(f"- {line}" for line in lines)] if lines else []


def table(board: Board) -> str:
    """The table of a board: rank, defense, robust and clean accuracy, claims, other threats, AUROC, cost, flags."""
    beside = board.beside
    detects, claims = any(row.metric("auroc") for row in board.rows), any(row.claims for row in board.rows)
    header = ["rank", "defense", "robust % (95 %)", *(["claimed %"] if claims else []), "clean %"]
    header += [f"{_text.threat(threat)} %" for threat in beside]
    header += [*(["AUROC"] if detects else []), *(f"{title} %" for _, title, _ in board.rejecting), "time", "flags"]
    alignment = ["---:", ":---", *("---:" for _ in header[3:]), ":---"]
    body = [_cells(row, board, detects=detects, claims=claims) for row in board.rows]
    return "\n".join(_line(cells) for cells in ([escaped(title) for title in header], alignment, *body))


def _cells(row: Row, board: Board, *, detects: bool, claims: bool) -> list[str]:
    name = escaped(row.name) + REFERENCE * (row.origin == "reference")
    name += f" ({escaped(row.author)})" if row.author else ""
    cells = [row.place, name, _text.percent_interval(row.metric("robust_accuracy"))]
    if claims:
        cells.append(_text.share(row.claims.get("robust_accuracy")) + " (contradicted)" * row.contradicted)
    cells.append(_text.percent(row.metric("clean_accuracy")))
    cells += [_text.percent(row.threats.get(threat)) for threat in board.beside]
    if detects:
        auroc = row.metric("auroc")
        cells.append(_text.area(auroc).split(" ")[0])
    cells += [_text.percent(row.metric(metric)) for metric, _, _ in board.rejecting]
    return [*cells, _text.duration(row.cost("seconds")), escaped(row.remarks)]


def attack_sections(boards: Sequence[Board], selftests: Mapping[str, Selftest]) -> list[str]:
    """The attacks on each board's systems in the headline's ball."""
    found = []
    for board in boards:
        shown = [line for line in lines(board, selftests) if at_headline(board, line)]
        if shown:
            found.append(f"## {escaped(board.title)}\n\n{_attacks(shown)}")
    return found


def _attacks(shown: Sequence[Line]) -> str:
    header = [
        "attack",
        "threat",
        "success %",
        "broken",
        "missed %",
        "wins",
        "distance",
        "forwards",
        "backwards",
        "time",
    ]
    header.append("known neighbours %")
    alignment = [":---", ":---", *("---:" for _ in header[2:])]
    return "\n".join(_line(cells) for cells in (header, alignment, *map(_attack, shown)))


def _attack(line: Line) -> list[str]:
    return [escaped(line.attack), escaped(_text.threat(line.threat)), *attack_figures(line)]


def attack_figures(line: Line) -> list[str]:
    """Success, broken, missed, wins, distance, passes, time and known neighbours of an attack."""
    test = line.selftest
    known = _text.percent(test.share) if test else _text.MISSING
    inverted = f" ({_text.percent(test.inverted)})" if test and test.inverted else ""
    return [
        _text.share(line.success),
        _text.whole(line.total("broken")),
        _text.share(line.missed),
        _text.whole(line.total("wins")),
        _text.figure(line.middle("median_distance")),
        _text.count(line.middle("forwards")),
        _text.count(line.middle("backwards")),
        _text.duration(line.middle("seconds")),
        known + inverted,
    ]


def risk_sections(boards: Sequence[Board]) -> list[str]:
    """The risks of each board's systems, and the shares of their causes."""
    found = [(board, risks.lines(board)) for board in boards]
    return [f"## {escaped(board.title)}\n\n{_risks(shown)}" for board, shown in found if shown]


def _risks(shown: Sequence[risks.Line]) -> str:
    names = [name for name in RISKS if any(name in line.risks for line in shown)]
    header = ["defense", "budget", "inputs", *(f"{RISKS[name].lower()} %" for name in names)]
    header += [f"by {cause.replace('_', '-')} %" for cause in CAUSES]
    alignment = [":---", ":---", *("---:" for _ in header[2:])]
    body = [
        [
            escaped(line.row.name),
            escaped(_text.threat(line.threat)),
            _text.whole(line.inputs),
            *(_text.percent_interval(line.risks.get(name)) for name in names),
            *(_text.percent(line.causes.get(cause)) for cause in CAUSES),
        ]
        for line in shown
    ]
    return "\n".join(_line(cells) for cells in (header, alignment, *body))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no table, link, emphasis, formula or HTML in it."""
    text = re.sub(r"([\\`*\[\]<>|~$&])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
